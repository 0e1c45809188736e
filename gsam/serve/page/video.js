// Videos: frames, following objects by words or clicks, and looking at what was found.

import { ask, events } from './api.js';
import { view } from './canvas.js';
import { colourOf, css } from './colours.js';
import { Mask } from './masks.js';
import { bitmapOf } from './media.js';
import { changed, object, set, state } from './state.js';

const MASKS_KEPT = 120; // frames whose masks stay decoded
const by = (id) => document.getElementById(id);
const decoded = new Map(); // frame -> its objects, the one used last is the last to go
let running = null; // {abort, live}
let wanted = 0; // frame that was asked for last
let playing = null;

export const isFollowing = () => running !== null;
export const prompted = () => state.objects.filter((one) => Object.keys(one.prompts).length > 0);

// Show a frame as soon as its pixels and masks are here; a later wish goes first.
export async function turn(frame) {
  const { media } = state;
  wanted = Math.min(media.length - 1, Math.max(0, frame));
  const mine = wanted;
  const [bitmap] = await Promise.all([bitmapOf(media, mine), masksOf(mine)]);
  if (media !== state.media || mine !== wanted) return;
  view.bitmap = bitmap;
  set({ frame: mine });
  if (mine + 1 < media.length) bitmapOf(media, mine + 1).catch(() => {});
}

// From here on frames are chosen by hand, even while objects are followed.
export function look(frame) {
  if (running) running.live = false;
  return turn(frame);
}

export function play(on = playing === null) {
  cancelAnimationFrame(playing);
  playing = null;
  if (on && state.media?.kind === 'video') {
    const { media } = state;
    const first = state.frame >= media.length - 1 ? 0 : state.frame;
    const began = performance.now();
    let at = -1;
    const next = (now) => {
      if (media !== state.media) return play(false);
      const frame = first + Math.floor((Math.max(0, now - began) / 1000) * (media.fps || 25));
      if (frame >= media.length) {
        look(media.length - 1);
        return play(false);
      }
      if (frame !== at) look(frame).catch(() => play(false));
      at = frame;
      playing = requestAnimationFrame(next);
    };
    playing = requestAnimationFrame(next);
  }
  by('play').setAttribute('aria-pressed', String(playing !== null));
  by('play').setAttribute('aria-label', playing === null ? 'Play' : 'Pause');
  by('play').querySelector('use').setAttribute('href', playing === null ? '#i-play' : '#i-pause');
}

// Follow words, or the objects that were clicked on, through all frames; returns how many were done.
export async function follow(query = null) {
  const { media } = state;
  play(false);
  const abort = new AbortController();
  const mine = { abort, live: true, media };
  const from = state.frame;
  running = mine;
  decoded.clear();
  const start = query ? state.objects.filter((one) => one.kept && prompted().includes(one)) : prompted();
  by('progress').value = 0;
  set({ results: new Map(), objects: start.map((one) => ({ ...one, edited: false })) });
  const json = { masks: 'png', ...(query ? { query } : { prompts: start.flatMap(asPrompts), direction: 'both' }) };
  let done = 0;
  let all = media.length;
  try {
    for await (const [name, data] of events(`v1/videos/${media.video}/track`, { json, signal: abort.signal })) {
      if (media !== state.media) break;
      if (name === 'error' && mine.cancelled) break;
      if (name === 'error') throw Object.assign(new Error(data.message), { code: data.code });
      if (name === 'start') all = data.frames ?? all;
      if (name !== 'frame') continue;
      done += 1;
      take(data, query !== null);
      by('progress').value = Math.min(1, done / all);
      if (mine.live) turn(data.index).catch(() => {});
    }
  } catch (error) {
    if (error.name !== 'AbortError') throw error;
  } finally {
    if (running === mine) running = null;
    if (media === state.media && !query && mine.live) turn(from).catch(() => {}); // where it was clicked
    changed();
  }
  return done;
}

// The server says that it has ended; where it does not, the page does not wait for it.
export function cancel() {
  if (!running || running.cancelled) return;
  const mine = running;
  mine.cancelled = true;
  ask('DELETE', `v1/videos/${mine.media.video}/track`, { quiet: true }).catch(() => mine.abort.abort());
  setTimeout(() => mine.abort.abort(), 3000);
}

// All frames that have results with their masks, for export.
export async function* followedFrames() {
  for (const index of [...state.results.keys()].sort((a, b) => a - b)) yield [index, await masksOf(index)];
}

export function show() {
  const { media } = state;
  by('reel').hidden = media?.kind !== 'video';
  if (media?.kind !== 'video') return;
  by('frame').max = String(media.length - 1);
  by('frame').value = String(state.frame);
  by('frame').setAttribute('aria-valuetext', `Frame ${state.frame + 1} of ${media.length}`);
  by('time').textContent = `${state.frame + 1} / ${media.length}`;
  by('find').disabled = by('follow').hidden = running !== null;
  by('follow').disabled = prompted().length === 0;
  by('cancel').hidden = by('progress').hidden = running === null;
  marks(media);
}

// A number of the server's is an object of ours: the same for what was clicked on, another for what words found.
function take({ index, objects }, fromWords) {
  const here = new Map();
  const fresh = [];
  for (const one of objects) {
    const id = fromWords ? `w${one.id}` : Number(one.id);
    here.set(id, { ...one, id });
    if (![...state.objects, ...fresh].some((each) => each.id === id)) {
      fresh.push(object({ id, label: one.label || `object ${one.id}`, source: 'words' }));
    }
  }
  state.results.set(index, here);
  set(fresh.length ? { objects: [...state.objects, ...fresh] } : {});
}

function asPrompts(one) {
  return Object.entries(one.prompts).map(([frame, { points, labels, box }]) => (
    { frame: Number(frame), object: one.id, label: one.label, points, labels, ...(box ? { box } : {}) }));
}

async function masksOf(frame) {
  const here = state.results.get(frame);
  if (!here) return [];
  const all = [...here.values()];
  await Promise.all(all.map(async (one) => { one.mask ??= await Mask.of(one); }));
  decoded.delete(frame);
  decoded.set(frame, all);
  if (decoded.size > MASKS_KEPT) {
    const [old, them] = decoded.entries().next().value;
    decoded.delete(old);
    if (old !== state.frame) for (const one of them) one.mask = null;
  }
  return all.map((one) => ({ ...one }));
}

// A line over the slider: where results are, and where something was clicked on.
function marks(media) {
  const canvas = by('marks');
  const ratio = devicePixelRatio || 1;
  const w = Math.round(canvas.clientWidth * ratio);
  const h = Math.round(canvas.clientHeight * ratio);
  if (canvas.width !== w || canvas.height !== h) Object.assign(canvas, { width: w, height: h });
  const context = canvas.getContext('2d');
  context.clearRect(0, 0, w, h);
  const inset = 8 * ratio; // half a slider's thumb
  const at = (frame) => inset + ((w - 2 * inset) * frame) / Math.max(1, media.length - 1);
  const wide = Math.max(1, (w - 2 * inset) / media.length + 0.5);
  const all = state.objects.filter((one) => !one.hidden);
  all.forEach((one, i) => {
    const [top, high] = [(i * h) / all.length, Math.max(1, h / all.length - ratio / 2)];
    context.fillStyle = css(colourOf(one.label));
    for (const [frame, here] of state.results) if (here.has(one.id)) context.fillRect(Math.floor(at(frame) - wide / 2), top, Math.ceil(wide), high);
    for (const frame of Object.keys(one.prompts)) {
      context.beginPath();
      context.arc(at(Number(frame)), top + high / 2, 4 * ratio, 0, 2 * Math.PI);
      context.fill();
      Object.assign(context, { strokeStyle: getComputedStyle(canvas).color, lineWidth: 1.5 * ratio });
      context.stroke();
    }
  });
}
