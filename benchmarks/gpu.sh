#!/usr/bin/env bash
# The portraits' weights, or their speed, on a machine with one GPU and no network. From the
# repository's root:
#
#   benchmarks/gpu.sh wheels [FOLDER]   with a network: fetches what such a machine may lack
#   benchmarks/gpu.sh train             renders, trains denoiser, CLIP and noise-aware encoder
#   benchmarks/gpu.sh speed             a table of images a second
#
# The machine has Python 3.12 with torch 2.11, timm, pytorch-lightning, torchmetrics and
# safetensors. Settings, by environment:
#   WHEELS=FOLDER    wheels to install first, those that are missing there; none: all is installed
#   OUT=FOLDER       what comes of it (outputs/gpu), weights in pieces of at most 15 MiB:
#                    cat denoiser.tar.* | tar x
#   SECONDS_ALL=500  of the whole of `train`; the learning rates fall to zero by the clock
#   DENOISER, CLIP, NOISY   further overrides of the three trainings
#   TINY=1           a rehearsal: a few steps of small networks, on any machine
set -euo pipefail
cd "$(dirname "$0")/.."
began=$SECONDS
PYTHON=${PYTHON:-python3}
OUT=${OUT:-outputs/gpu}
SITE=${SITE:-/tmp/site}
TINY=${TINY:-}
SECONDS_ALL=${SECONDS_ALL:-500}
BATCH=256
# Patches of 2 for the recipe's 4, at half the widths: 13 M parameters, 1.4 times its FLOPs.
NETWORK="denoiser.patch=2 denoiser.network.block_out_channels=[48,96,192,256]
  denoiser.network.down_block_types=[DownBlock2D,DownBlock2D,AttnDownBlock2D,DownBlock2D]
  denoiser.network.up_block_types=[UpBlock2D,AttnUpBlock2D,UpBlock2D,UpBlock2D]"
SMALL_NETWORK="denoiser.patch=4 denoiser.network.block_out_channels=[32,32]
  denoiser.network.down_block_types=[DownBlock2D,DownBlock2D]
  denoiser.network.up_block_types=[UpBlock2D,UpBlock2D]"
# Heavy, and there already.
THERE="torch torchvision timm torchmetrics pytorch-lightning numpy pillow matplotlib contourpy
  kiwisolver fonttools pyparsing cycler python-dateutil six hf-xet setuptools wandb tensorboard"

wheels() {  # what the imports need, at the versions of this environment, for Python 3.12
  local folder=${1:-.whl} names platforms=()
  mkdir -p "$folder"
  names=$("$PYTHON" - $THERE <<'PY'
import importlib.metadata as metadata
import sys
from packaging.requirements import Requirement

there, found = set(sys.argv[1:]), {}
todo = ["hydra-core", "diffusers", "open_clip_torch", "torch-fidelity", "lightning-utilities",
        "rich", "safetensors", "dicebear-core", "dicebear-styles", "dicebear-schema", "resvg-py"]
while todo:
    name = todo.pop().lower().replace("_", "-")
    if name in there or name in found:
        continue
    package = metadata.distribution(name)
    found[name] = package.version
    needs = [Requirement(line) for line in package.requires or []]
    target = {"python_version": "3.12", "python_full_version": "3.12.3", "extra": "",
              "sys_platform": "linux", "platform_system": "Linux", "platform_machine": "x86_64"}
    todo += [need.name for need in needs if need.marker is None or need.marker.evaluate(target)]
print(*(f"{name}=={version}" for name, version in sorted(found.items())))
PY
)
  for platform in manylinux_2_28 manylinux_2_17 manylinux2014 manylinux_2_5 manylinux1; do
    platforms+=(--platform "${platform}_x86_64")
  done
  # The grammar's runtime is published as source alone.
  "$PYTHON" -m pip wheel -q --no-deps -w "$folder" $(tr ' ' '\n' <<< "$names" | grep '^antlr4')
  "$PYTHON" -m pip download -q --no-deps --only-binary=:all: --python-version 3.12 \
    --implementation cp --abi cp312 --abi abi3 --abi none "${platforms[@]}" \
    -d "$folder" $(tr ' ' '\n' <<< "$names" | grep -v '^antlr4')
  du -sh "$folder"
}

install() {  # those of WHEELS that this machine lacks; an older one that is there does, too
  export PYTHONPATH=src${PYTHONPATH:+:$PYTHONPATH}
  [ -n "${WHEELS:-}" ] || return 0
  local pip=("$PYTHON" -m pip install -q --no-index --no-deps --upgrade --target "$SITE")
  "$PYTHON" - "$WHEELS" <<'PY' | xargs -r "${pip[@]}"
import importlib.metadata as metadata
import sys
from pathlib import Path

for file in sorted(Path(sys.argv[1]).glob("*.whl")):
    try:
        metadata.version(file.name.split("-")[0])
    except metadata.PackageNotFoundError:
        print(file)
PY
  export PYTHONPATH=$PYTHONPATH:$SITE
}

say() { echo "[$((SECONDS - began)) s] $*"; }
left() { echo $((SECONDS_ALL - (SECONDS - began))); }

fit() {  # NAME SECONDS OVERRIDES...: trains one part by the clock, exports it in half precision
  local name=$1 seconds=$2 time
  shift 2
  time=$(printf '00:%02d:%02d:%02d' $((seconds / 3600)) $((seconds / 60 % 60)) $((seconds % 60)))
  say "$name: $seconds s"
  [ "$seconds" -ge 5 ] || { say "no time is left for it: raise SECONDS_ALL"; return 1; }
  "$PYTHON" train.py data=portraits "${data[@]}" trainer="$trainer" trainer.precision=bf16-mixed \
    lr_schedule._target_=sdg.training.module.timed_cosine +lr_schedule.seconds="$seconds" \
    trainer.max_steps="$most" "+trainer.max_time='$time'" \
    +trainer.enable_checkpointing=false callbacks.checkpoint=null half=true \
    hydra.run.dir="$work/$name" "$@" 2>&1 | tee "$work/$name.log" | grep -v Warning || return 1
  mkdir -p "$work/weights"
  rm -f "$work/weights/$name.safetensors"
  "$PYTHON" -m sdg.app.checkpoints convert --half "$work/$name/$name" "$work/weights/$name.safetensors"
}

picture() {  # NAME OVERRIDES...: 64 samples
  local name=$1
  shift
  if "$PYTHON" sample.py data=portraits "${data[@]}" trainer="$trainer" batch_size=64 \
    denoiser.weights="$work/weights/denoiser.safetensors" sampler=ddim sampler.steps="$steps" \
    eval.judge=null eval.clip=null ++eval.reading=false ++eval.imagenet=false eval.real=2 \
    eval.grid=64 num_samples="$samples" rerun=true hydra.run.dir="$work/$name" "$@" \
    > "$work/$name.log" 2>&1; then
    cp "$work/$name/grid.png" "$OUT/$name.png"
  else
    say "$name failed: $(tail -n 1 "$work/$name.log")"
  fi
}

pack() {  # NAME FILES...: $OUT/NAME.tar.aa, .ab, ...
  local name=$1
  shift
  rm -f "$OUT/$name".tar.*
  tar c -C "$work" "$@" | split -b 15m - "$OUT/$name.tar."
}

train() {
  install
  work=${WORK:-/tmp/sdg_gpu}
  rm -rf "$work"
  mkdir -p "$work" "$OUT"
  trainer=auto workers=0
  if "$PYTHON" -c "import sys, torch; sys.exit(not torch.cuda.is_available())"; then
    trainer=gpu workers=10
  fi
  local size=100000 held_out=2000 network=$NETWORK compile=true more=()
  steps=50 samples=64 most=10000000  # steps of a training: the clock ends it
  [ $trainer = gpu ] && more=(+optimizer.fused=true)
  if [ -n "$TINY" ]; then
    size=200 held_out=100 network=$SMALL_NETWORK compile=false
    steps=2 samples=4 most=4 BATCH=16 SECONDS_ALL=10000
  fi
  data=(data.size=$size data.held_out=$held_out data.cache="$work/data" data.num_workers=$workers)
  say "rendering $size portraits"
  "$PYTHON" -c "
import sys
from sdg.data.portraits_data import PortraitsData
if __name__ == '__main__':
    data = PortraitsData(size=$size, held_out=$held_out, cache='$work/data', batch_size=1)
    data.prepare_data()"
  # Each part spends some 25 s outside its training: imports, compiling, export.
  local out=25
  [ -z "$TINY" ] || out=10
  say "training"
  denoiser() {  # COMPILE
    # shellcheck disable=SC2086
    fit denoiser $(($(left) * 62 / 100 - out)) $network compile="$1" \
      +trainer.limit_val_batches=0 data.batch_size=$BATCH optimizer.lr=1e-3 \
      "${more[@]}" ${DENOISER:-}
  }
  denoiser $compile || denoiser false  # a machine may lack a compiler
  pack denoiser weights/denoiser.safetensors weights/denoiser.md
  picture preview guidance.gamma=0
  if [ "$(left)" -gt $((out * 3)) ]; then
    # shellcheck disable=SC2086
    if fit clip $(($(left) * 45 / 100 - out)) encoder=clip data.batch_size=$BATCH \
      "${more[@]}" ${CLIP:-}; then
      pack encoders weights/clip.safetensors weights/clip.md
    fi
  fi
  local clip=$work/weights/clip.safetensors
  if [ -f "$clip" ] && [ "$(left)" -gt $((out * 2)) ]; then
    # shellcheck disable=SC2086
    if fit clip_noisy $(($(left) - out - out / 2)) encoder=clip_noisy encoder.clip="$clip" \
      module.denoiser="$work/weights/denoiser.safetensors" data.batch_size=$BATCH "${more[@]}" ${NOISY:-}; then
      pack encoders weights/clip.{safetensors,md} weights/clip_noisy.{safetensors,md}
      picture guided encoder.weights="$work/weights/clip_noisy.safetensors" encoder.clip="$clip"
    fi
  fi
  local logs
  logs=$(cd "$work" && ls ./*.log ./*/metrics.csv ./*/config.yaml 2> /dev/null || true)
  # shellcheck disable=SC2086
  tar cz -C "$work" $logs > "$OUT/run.tar.gz"
  say "done"
  ls -l "$OUT"
}

speed() {
  install
  # shellcheck disable=SC2086
  if [ -n "$TINY" ]; then
    "$PYTHON" benchmarks/gpu_speed.py 4 0.1 $SMALL_NETWORK
  else
    "$PYTHON" benchmarks/gpu_speed.py $BATCH 3 $NETWORK ${DENOISER:-}
  fi
}

case ${1:-} in
  wheels) wheels "${2:-}" ;;
  train | speed) "$1" ;;
  *) sed -n '2,/^set/s/^# \{0,1\}//p' "$0"; exit 1 ;;
esac
