#!/usr/bin/env bash
# The portraits' weights, or their speed, on a machine with one GPU and no network. From the
# repository's root:
#
#   benchmarks/gpu.sh wheels [FOLDER]   with a network: fetches what such a machine may lack
#   benchmarks/gpu.sh train             renders, trains denoiser, CLIP and noise-aware encoder
#   benchmarks/gpu.sh processes         renders, trains the denoiser as DDPM, EDM and flow, and
#                                       a latent model: autoencoder, denoiser, noise-aware encoder
#   benchmarks/gpu.sh speed             the tests of a GPU, and a table of images a second
#
# The machine has Python 3.12 with torch 2.11, timm, pytorch-lightning, torchmetrics and
# safetensors. Settings, by environment:
#   WHEELS=FOLDER    wheels to install first, those that are missing there; none: all is installed
#   OUT=FOLDER       what comes of it (outputs/gpu), weights in pieces of at most 15 MiB:
#                    cat denoiser.tar.* | tar x
#   SECONDS_ALL=500  of the whole; a training's learning rate falls to zero by the clock, and no
#                    row of `speed` begins later
#   FROM=FOLDER      weights to go on with: the denoiser is then trained beside the two encoders.
#                    None: from nothing, one after another. `processes` takes its ddpm, edm and
#                    flow, each else its denoiser
#   DENOISER, CLIP, NOISY, ON_POLICY, AUTOENCODER   further overrides of the trainings; ON_POLICY
#                    goes on with the noise-aware encoder on what guidance makes
#   SIZE=100000      portraits that are rendered
#   PROCESSES="ddpm edm flow latent"   those that `processes` trains, all at once
#   TINY=1           a rehearsal: a few steps of small networks, on any machine
set -euo pipefail
cd "$(dirname "$0")/.."
began=$SECONDS
PYTHON=${PYTHON:-python3}
OUT=${OUT:-outputs/gpu}
SITE=${SITE:-/tmp/site}
TINY=${TINY:-}
FROM=${FROM:-}
SECONDS_ALL=${SECONDS_ALL:-500}
BATCH=256
# Patches of 2 for the recipe's 4, at half the widths: 13 M parameters, 1.4 times its FLOPs.
NETWORK="denoiser.patch=2 denoiser.network.block_out_channels=[48,96,192,256]
  denoiser.network.down_block_types=[DownBlock2D,DownBlock2D,AttnDownBlock2D,DownBlock2D]
  denoiser.network.up_block_types=[UpBlock2D,AttnUpBlock2D,UpBlock2D,UpBlock2D]"
PROCESSES_NETWORK="denoiser.patch=2 denoiser.network.block_out_channels=[64,128,160,192]
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
        "rich", "safetensors", "pytest", "dicebear-core", "dicebear-styles", "dicebear-schema",
        "resvg-py"]
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

fit() {  # NAME KIND SECONDS OVERRIDES...: trains one part by the clock, exports it in half precision
  local name=$1 kind=$2 seconds=$3 time
  shift 3
  time=$(printf '00:%02d:%02d:%02d' $((seconds / 3600)) $((seconds / 60 % 60)) $((seconds % 60)))
  say "$name: $seconds s"
  [ "$seconds" -ge 5 ] || { say "no time is left for it: raise SECONDS_ALL"; return 1; }
  "$PYTHON" train.py data=portraits "${data[@]}" trainer="$trainer" trainer.precision=bf16-mixed \
    lr_schedule._target_=sdg.training.module.timed_cosine +lr_schedule.seconds="$seconds" \
    trainer.max_steps="$most" "+trainer.max_time='$time'" +trainer.limit_val_batches="$validated" \
    trainer.val_check_interval=100000 +trainer.enable_checkpointing=false \
    callbacks.checkpoint=null half=true "${more[@]}" \
    hydra.run.dir="$work/$name" "$@" > "$work/$name.log" 2>&1 \
    || { say "$name failed: $(tail -n 3 "$work/$name.log")"; return 1; }
  if [ "$kind" = autoencoder ]; then
    cp -r "$work/$name/$kind" "$work/weights/$name"  # diffusers' own folder
  else
    "$PYTHON" -m sdg.app.checkpoints convert --half "$work/$name/$kind" \
      "$work/weights/$name.safetensors" || return 1
    cp "$work/$name/$kind/README.md" "$work/weights/$name.md"
  fi
  say "$name: done, $(tail -n 1 "$work/$name/metrics.csv" | cut -d, -f 1-4)"
}

pack() {  # NAME FILES...: $OUT/NAME.tar.aa, .ab, ...
  local name=$1
  shift
  rm -f "$OUT/$name".tar.*
  tar c -C "$work" "$@" | split -b 15m - "$OUT/$name.tar."
}

packed() {  # NAME PATTERNS...: what there is of it
  local name=$1 files
  shift
  # shellcheck disable=SC2068
  files=$(cd "$work" && ls -d $@ 2> /dev/null || true)
  # shellcheck disable=SC2086
  [ -z "$files" ] || pack "$name" $files
}

prepare() {  # what every training needs: settings, and the rendered portraits
  install
  work=${WORK:-/tmp/sdg_gpu}
  mkdir -p "$work"
  find "$work" -mindepth 1 -maxdepth 1 ! -name data -exec rm -rf {} +  # what is rendered serves again
  mkdir -p "$work/weights" "$OUT"
  trainer=auto most=10000000 validated=1.0 more=()
  size=${SIZE:-100000} held_out=2000 workers=0 network=${network-$NETWORK} start=25
  if "$PYTHON" -c "import sys, torch; sys.exit(not torch.cuda.is_available())"; then
    trainer=gpu workers=${WORKERS:-6}
  fi
  if [ -n "$TINY" ]; then
    size=200 held_out=100 network=$SMALL_NETWORK most=4 BATCH=16 SECONDS_ALL=10000 start=10
    validated=1
    more+=(callbacks.ema.decay=0.5)
  fi
  data=(data.size=$size data.held_out=$held_out data.cache="$work/data" data.num_workers=$workers
    data.batch_size=$BATCH)
  say "rendering $size portraits"
  "$PYTHON" -c "
import sys
from sdg.data.portraits_data import PortraitsData
if __name__ == '__main__':
    data = PortraitsData(size=$size, held_out=$held_out, cache='$work/data', batch_size=1)
    data.prepare_data()"
}

train() {
  prepare
  # Where there are weights to go on with, the denoiser is trained beside the two encoders.
  local denoiser=$work/weights/denoiser.safetensors clip=$work/weights/clip.safetensors
  local first=$(($(left) * 45 / 100)) go_on=() until
  until=$((SECONDS + first))
  say "training"
  # shellcheck disable=SC2086
  if [ -n "$FROM" ]; then
    fit denoiser denoiser $((first - start)) init="$FROM/denoiser.safetensors" ${DENOISER:-} &
    go_on=(init="$FROM/clip_noisy.safetensors" module.denoiser="$FROM/denoiser.safetensors")
    fit clip clip $((first * 40 / 100 - start)) encoder=clip init="$FROM/clip.safetensors" ${CLIP:-} \
      || clip=$FROM/clip.safetensors
  else
    first=$(($(left) * 75 / 100))
    fit denoiser denoiser $((first * 60 / 100 - start)) $network ${DENOISER:-}
    fit clip clip $((first * 20 / 100 - start)) encoder=clip ${CLIP:-}
    go_on=(module.denoiser="$denoiser") until=$((SECONDS + first * 20 / 100))
  fi
  # shellcheck disable=SC2086
  fit clip_noisy clip_noisy $((until - SECONDS - start)) encoder=clip_noisy encoder.clip="$clip" \
    "${go_on[@]}" ${NOISY:-} || cp "$FROM/clip_noisy.safetensors" "$work/weights"
  wait
  [ -f "$denoiser" ] || denoiser=$FROM/denoiser.safetensors
  # shellcheck disable=SC2086
  fit on_policy clip_noisy $(($(left) - start)) encoder=clip_noisy encoder.clip="$clip" \
    module.denoiser="$denoiser" init="$work/weights/clip_noisy.safetensors" \
    module.on_policy_share=0.5 ${ON_POLICY:-} || true
  packed denoiser "weights/denoiser.*"
  packed encoders "weights/clip*" "weights/on_policy*"
  finish
}

processes() {  # all at once: one network, one share of the machine for each
  network=$PROCESSES_NETWORK
  prepare
  [ -z "$FROM" ] || network=
  local all process from go_on
  all=$(left)
  for process in ${PROCESSES:-ddpm edm flow latent}; do
    if [ "$process" = latent ]; then
      latent "$all" &
      continue
    fi
    go_on=()
    if [ -n "$FROM" ]; then  # patches of 4 hold an image, not the noise of all its pixels
      from=$FROM/$process.safetensors
      [ -f "$from" ] || from=$FROM/denoiser.safetensors
      go_on=(init="$from" denoiser.prediction="$([ "$process" = flow ] && echo flow_x0 || echo x0)")
    fi
    # shellcheck disable=SC2086
    fit "$process" denoiser $((all * 60 / 100 - start)) process="$process" optimizer.lr=6e-4 \
      $network "${go_on[@]}" ${DENOISER:-} &
  done
  wait
  for process in ddpm edm flow; do
    packed "$process" "weights/$process.*"
  done
  packed latent "weights/autoencoder" "weights/latent_*"
  finish
}

latent() {  # SECONDS: an autoencoder, a denoiser of its latents, and a noise-aware encoder of them
  local all=$1 autoencoder=$work/weights/autoencoder
  fit autoencoder autoencoder $((all * 25 / 100 - start)) encoder=autoencoder data.batch_size=64 \
    ${AUTOENCODER:-} || return 1
  # shellcheck disable=SC2086
  fit latent_denoiser denoiser $((all * 45 / 100 - start)) denoiser.autoencoder="$autoencoder" \
    optimizer.lr=8e-4 $network denoiser.patch=4 ${DENOISER:-} || return 1
  # shellcheck disable=SC2086
  fit latent_encoder clip_noisy $((all * 30 / 100 - start)) encoder=clip_noisy \
    encoder.clip=weights/portraits/clip.safetensors module.autoencoder="$autoencoder" \
    module.denoiser="$work/weights/latent_denoiser.safetensors" ${NOISY:-}
}

finish() {  # the logs, and a list of what there is
  local logs
  logs=$(cd "$work" && ls ./*.log ./*/metrics.csv ./*/config.yaml 2> /dev/null || true)
  # shellcheck disable=SC2086
  tar cz -C "$work" $logs > "$OUT/run.tar.gz"
  say "done"
  ls -l "$OUT"
}

speed() {  # the tests that want a GPU, then the table; together at most 9 minutes
  install
  mkdir -p "$OUT"
  local limit=200 options=()
  [ -z "$TINY" ] || options=(--tiny) limit=900
  say "tests of the GPU"
  timeout "$limit" "$PYTHON" -m pytest -m gpu tests/gpu > "$OUT/gpu_tests.log" 2>&1 \
    || say "not all passed: $OUT/gpu_tests.log"
  tail -n 5 "$OUT/gpu_tests.log"
  say "speed"
  "$PYTHON" benchmarks/gpu_speed.py "$OUT" --seconds "$(left)" "${options[@]}"
  say "done"
}

case ${1:-} in
  wheels) wheels "${2:-}" ;;
  train | processes | speed) "$1" ;;
  *) sed -n '2,/^set/s/^# \{0,1\}//p' "$0"; exit 1 ;;
esac
