// The page put together: what is pressed, and what then happens.

import { place } from './api.js';
import * as canvas from './canvas.js';
import * as edit from './edit.js';
import { save, chosenOrAll } from './export.js';
import * as keyboard from './keyboard.js';
import { close, open } from './media.js';
import * as objects from './objects.js';
import * as pointer from './pointer.js';
import { can, chosen, onChange, set, shown, state, step, under } from './state.js';
import * as status from './status.js';
import { busy, problem, say, whisper } from './status.js';
import * as video from './video.js';

const SAMPLE_WORDS = 'dog, pizza, apple, umbrella';
const by = (id) => document.getElementById(id);
const press = (id, act) => by(id).addEventListener('click', act);
let working = 0;

// Run something that asks the server; what goes wrong is told.
async function run(text, work) {
  working += 1;
  busy(text);
  problem(null);
  try {
    return await work();
  } catch (error) {
    problem(error);
    return null;
  } finally {
    working -= 1;
    if (!working) busy(null);
  }
}

async function load(file, name) {
  edit.stop();
  video.cancel();
  video.play(false);
  const media = await run(`Opening ${name ?? file.name ?? 'the picture'}`, () => open(file, name));
  if (!media) return;
  canvas.view.bitmap = media.bitmap;
  for (const id of ['canvas', 'tools']) by(id).hidden = false;
  by('empty').hidden = true;
  const size = `${media.width} × ${media.height}`;
  by('medium').textContent = `${media.name} · ${size}${media.kind === 'video' ? ` · ${media.length} frames` : ''}`;
  by('canvas').setAttribute('aria-label', `${media.name}, ${size} pixels, no objects`);
  for (const id of ['words', 'find']) by(id).disabled = false;
  by('everything').hidden = media.kind === 'video';
  by('everything').disabled = false;
  by('find').textContent = media.kind === 'video' ? 'Follow' : 'Find';
  set({ least: 0 });
  canvas.fit();
  say(media.kind === 'video' ? 'Type words and press Follow, or click on an object and follow it.' : 'Type words, or click on something.');
  by('words').focus({ preventScroll: true });
}

async function ask(event) {
  event.preventDefault();
  const query = by('words').value.trim();
  if (!state.media || !query) return;
  if (state.media.kind === 'video') {
    await follow(query);
    return;
  }
  const found = await run('Looking', () => edit.words(query, status.served.threshold));
  if (!found) return;
  if (status.served.threshold && state.least === 0) set({ least: status.served.threshold });
  say(summary());
}

async function follow(query) {
  say('Following. The first frame takes longest.');
  const done = await run(null, () => video.follow(query));
  if (done === null) say('');
  else say(`${done} of ${state.media.length} frames followed. ${summary(state.objects.map((one) => ({ one })))}`);
}

// So many objects, and which.
function summary(all = shown()) {
  if (!all.length) return 'Nothing was found. Try other words, or lower the score.';
  const counts = new Map();
  for (const { one } of all) counts.set(one.label, (counts.get(one.label) ?? 0) + 1);
  const names = [...counts].slice(0, 8).map(([name, n]) => (n > 1 ? `${n} × ${name}` : name)).join(', ');
  return `${all.length} ${all.length === 1 ? 'object' : 'objects'}${all.every(({ one }) => one.source === 'everything') ? '' : `: ${names}`}`;
}

const act = {
  async point(at, positive) {
    const one = await run('Asking', () => edit.point(at, positive));
    if (one) say(`${one.label}: ${positive ? 'with' : 'without'} this point. ${summary()}`);
  },
  async box(corners) {
    const one = await run('Asking', () => edit.box(corners));
    if (one) say(`${one.label}: in this box. ${summary()}`);
  },
  pick: ([x, y]) => edit.choose(under(x, y)[0]?.one.key ?? null),
  anew() {
    edit.anew();
    say('The next click begins another object.');
  },
  other() {
    const now = edit.other();
    if (now) say(`Mask ${now[0]} of ${now[1]}`);
  },
  hide: () => state.chosen !== null && edit.hide(state.chosen),
  remove() {
    const one = chosen();
    if (!one) return;
    edit.remove(one.key);
    say(`${one.label} is removed. Ctrl Z brings it back.`);
  },
  choose: edit.choose,
  help: () => by('keys').showModal(),
  turn: (frames) => state.media.kind === 'video' && video.look(state.frame + frames).catch(problem),
  play: () => video.play(),
  whisper,
};

function travel(way) {
  if (step[way]()) say(way === 'undo' ? 'Undone.' : 'Done again.');
}

function tool(name) {
  set({ tool: name });
  for (const button of document.querySelectorAll('[data-tool]')) {
    const on = button.dataset.tool === name;
    button.setAttribute('aria-checked', String(on));
    button.tabIndex = on ? 0 : -1;
  }
  by('canvas').dataset.tool = name;
}

function show() {
  const all = shown();
  by('undo').disabled = !can.undo();
  by('redo').disabled = !can.redo();
  by('fresh').disabled = state.chosen === null;
  by('least').value = String(state.least);
  by('leastText').textContent = state.least.toFixed(2);
  by('opacity').value = String(Math.round(100 * state.opacity));
  by('opacityText').textContent = `${Math.round(100 * state.opacity)}%`;
  for (const button of document.querySelectorAll('[data-export]')) {
    button.disabled = !all.length && !(button.dataset.export === 'json' && state.results.size && state.objects.length);
  }
  const picked = chosen();
  by('scope').textContent = picked && all.length > 1 && chosenOrAll().length === 1 ? `cut-out: ${picked.label}` : '';
  if (state.media) by('canvas').setAttribute('aria-label', `${state.media.name}, ${all.length} objects`);
  objects.show();
  video.show();
  canvas.redraw();
}

function files(list) {
  const file = [...(list ?? [])].find((one) => one.size);
  if (file) load(file);
}

function listen() {
  by('file').addEventListener('change', () => {
    files(by('file').files);
    by('file').value = '';
  });
  press('choose', () => by('file').click());
  press('sample', async () => {
    const blob = await run('Opening the sample', async () => (await fetch(place('page/sample.webp'))).blob());
    if (!blob) return;
    await load(blob, 'sample.webp');
    by('words').value = SAMPLE_WORDS;
  });
  by('ask').addEventListener('submit', ask);
  press('everything', async () => {
    if (await run('Looking at everything', edit.everything)) say(summary());
  });
  press('follow', () => follow(null));
  press('cancel', video.cancel);
  press('play', () => video.play());
  by('frame').addEventListener('input', () => {
    video.play(false);
    video.look(Number(by('frame').value)).catch(problem);
  });
  for (const way of ['undo', 'redo']) press(way, () => travel(way));
  press('nearer', () => canvas.zoom(1.4));
  press('farther', () => canvas.zoom(1 / 1.4));
  press('fit', canvas.fit);
  press('fresh', act.anew);
  press('help', act.help);
  by('least').addEventListener('input', () => set({ least: Number(by('least').value) }));
  by('least').addEventListener('change', () => say(summary()));
  by('opacity').addEventListener('input', () => set({ opacity: Number(by('opacity').value) / 100 }));
  for (const button of document.querySelectorAll('[data-export]')) {
    button.addEventListener('click', async () => {
      const name = await run('Writing', () => save(button.dataset.export));
      if (name) say(`${name} is saved.`);
    });
  }
  const tools = [...document.querySelectorAll('[data-tool]')];
  tools.forEach((button, i) => {
    button.addEventListener('click', () => tool(button.dataset.tool));
    button.addEventListener('keydown', (event) => {
      const to = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
      if (!to) return;
      event.preventDefault();
      const next = tools[(i + to + tools.length) % tools.length];
      tool(next.dataset.tool);
      next.focus();
    });
  });
  addEventListener('keydown', (event) => {
    if (!(event.ctrlKey || event.metaKey) || event.target.matches?.('input[type=text], input[type=search], input[type=password]')) return;
    const key = event.key.toLowerCase();
    if (key !== 'z' && key !== 'y') return;
    event.preventDefault();
    travel(key === 'y' || event.shiftKey ? 'redo' : 'undo');
  });
  addEventListener('paste', (event) => files(event.clipboardData?.files));
  addEventListener('dragover', (event) => {
    event.preventDefault();
    document.body.classList.add('dropping');
  });
  addEventListener('dragleave', (event) => {
    if (!event.relatedTarget) document.body.classList.remove('dropping');
  });
  addEventListener('drop', (event) => {
    event.preventDefault();
    document.body.classList.remove('dropping');
    files(event.dataTransfer?.files);
  });
  addEventListener('pagehide', () => close(true));
}

canvas.start(by('canvas'));
pointer.start(by('canvas'), act);
keyboard.start(by('canvas'), act);
onChange(show);
listen();
tool('add');
show();
status.start();
