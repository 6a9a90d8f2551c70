const large = document.querySelector('dialog');
let shown = null;

function enlarge(image) {
  shown = image;
  const copy = large.querySelector('img');
  copy.src = image.src;
  copy.alt = image.alt;
  copy.className = image.naturalWidth < 400 ? 'pixels' : '';
  large.querySelector('p').textContent = image.alt;
  if (!large.open) large.showModal();
}

function turn(by) {
  const all = [...document.querySelectorAll('.grid img, .gallery img')];
  const images = all.filter(image => image.offsetParent !== null);
  const next = images[images.indexOf(shown) + by];
  if (next) enlarge(next);
}

document.addEventListener('click', event => {
  const image = event.target.closest('.grid img, .gallery img');
  const arrow = event.target.closest('[data-turn]');
  if (image) enlarge(image);
  else if (arrow) turn(Number(arrow.dataset.turn));
  else if (large.open) large.close();
});

document.addEventListener('keydown', event => {
  const steps = {ArrowLeft: -1, ArrowRight: 1};
  if (large.open && event.key in steps) {
    event.preventDefault();
    turn(steps[event.key]);
  } else if (event.key === 'Enter' && event.target.matches('.grid img, .gallery img')) {
    enlarge(event.target);
  }
});

for (const button of document.querySelectorAll('[data-filter]')) {
  if (button !== document.body) button.addEventListener('click', () => {
    document.body.dataset.filter = button.dataset.filter;
    for (const other of document.querySelectorAll('.filter button')) {
      other.setAttribute('aria-pressed', other === button);
    }
  });
}

document.querySelector('#copy')?.addEventListener('click', async event => {
  const code = document.querySelector('.command code');
  try {
    await navigator.clipboard.writeText(code.textContent);
  } catch {
    getSelection().selectAllChildren(code);
    document.execCommand('copy');
  }
  event.target.textContent = 'copied';
  setTimeout(() => { event.target.textContent = 'copy'; }, 1500);
});

for (const head of document.querySelectorAll('table.sortable th')) {
  head.addEventListener('click', () => {
    const body = head.closest('table').tBodies[0];
    const sign = head.dataset.sign = -(head.dataset.sign || -1);
    const value = row => {
      const cell = row.cells[head.cellIndex];
      return cell.dataset.value ?? cell.textContent;
    };
    const words = (a, b) => value(a).localeCompare(value(b));
    const order = (a, b) => isNaN(value(a) - value(b)) ? words(a, b) : value(a) - value(b);
    [...body.rows].sort((a, b) => sign * order(a, b)).forEach(row => body.append(row));
  });
}
