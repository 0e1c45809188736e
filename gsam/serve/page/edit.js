// Everything that changes objects: words, clicks, boxes, names.

import { ask } from './api.js';
import { Mask } from './masks.js';
import { withSession } from './media.js';
import { chosen, commit, object, replaced, seen, set, state } from './state.js';

let asking = null; // the request of words that is under way
let queue = Promise.resolve(); // clicks, one after the other: each goes on from the last
const LOWER = 0.4; // part of the server's threshold that is asked for, so that the slider can go below it

// Find words in the picture; their objects take the place of the last ones, except those that were changed.
export async function words(query, threshold) {
  const json = { query, masks: 'png', ...(threshold ? { threshold: threshold * LOWER } : {}) };
  const { segments, ...asked } = await once('segment', json);
  const found = await Promise.all(segments.map((one) => fromAnswer(one, 'words')));
  const kept = state.objects.filter((one) => one.source !== 'words' || one.kept);
  set({ asked });
  commit([...found, ...kept], null);
  return found;
}

// A mask for every thing, the large first.
export async function everything() {
  const { segments } = await once('everything', { masks: 'png' });
  segments.sort((a, b) => b.area - a.area);
  const found = await Promise.all(segments.map((one, i) => fromAnswer({ ...one, label: `thing ${i + 1}` }, 'everything')));
  commit([...state.objects.filter((one) => one.source !== 'everything' || one.kept), ...found], null);
  return found;
}

export const stop = () => asking?.abort();

// A click on the chosen object, or on a new one.
export const point = (at, positive) => later({ frame: state.frame, point: at, positive });

// A box around a new object, or around the chosen one where it has no mask on this frame.
export const box = (corners) => later({ frame: state.frame, box: corners });

// The next of the masks that one click may mean.
export function other(key = state.chosen) {
  const one = state.objects.find((each) => each.key === key);
  const prompt = one?.prompts[state.frame];
  if (!prompt || prompt.choices.length < 2) return null;
  const choice = (prompt.choice + 1) % prompt.choices.length;
  commit(replaced(key, { prompts: { ...one.prompts, [state.frame]: { ...prompt, choice } }, edited: true }), key);
  return [choice + 1, prompt.choices.length];
}

export const rename = (key, label) => commit(replaced(key, { label, kept: true }));
export const remove = (key) => commit(state.objects.filter((one) => one.key !== key));
export const choose = (key) => set({ chosen: key });

// The next click begins another object, those on their way do not.
export function anew() {
  set({ chosen: null });
  queue = queue.then(() => set({ chosen: null }));
}

export function hide(key) {
  const one = state.objects.find((each) => each.key === key);
  if (one) commit(replaced(key, { hidden: !one.hidden }));
}

async function once(what, json) {
  stop();
  const mine = new AbortController();
  asking = mine;
  try {
    const call = (id) => ask('POST', `v1/sessions/${id}/${what}`, { json, signal: mine.signal });
    return await (await withSession(state.frame, call)).json();
  } finally {
    if (asking === mine) asking = null;
  }
}

async function fromAnswer({ label, score, box: corners, area, ...rest }, source) {
  return object({ label, source, found: { score, box: corners, area, mask: await Mask.of(rest) } });
}

function later(prompt) {
  const { media } = state;
  const fresh = state.chosen === null && state.pending.length === 0;
  set({ pending: [...state.pending, prompt] });
  const job = queue.then(() => (state.media === media ? predict(prompt, fresh) : null));
  queue = job.catch(() => {}).then(() => set({ pending: state.pending.filter((one) => one !== prompt) }));
  return job;
}

async function predict(prompt, fresh) {
  const { media } = state;
  const known = fresh ? null : chosen();
  const one = known && !(prompt.box && seen(known, prompt.frame)) ? known : null;
  const wanted = extended(one, prompt);
  const json = { points: wanted.points, labels: wanted.labels, masks: 'png' };
  if (wanted.box) json.box = wanted.box;
  if (wanted.earlier) json.mask = wanted.earlier;
  const answer = await withSession(prompt.frame, (id) => ask('POST', `v1/sessions/${id}/predict`, { json }));
  const { masks } = await answer.json();
  if (state.media !== media) return null;
  const choices = await Promise.all(masks.map(async ({ id, score, box: corners, area, ...rest }) => (
    { id, score, box: corners, area, mask: await Mask.of(rest) })));
  const made = { points: wanted.points, labels: wanted.labels, box: wanted.box, choices, choice: 0 };
  if (one && state.objects.some(({ key }) => key === one.key)) {
    const { prompts } = state.objects.find(({ key }) => key === one.key);
    commit(replaced(one.key, { prompts: { ...prompts, [prompt.frame]: made }, edited: true, kept: true }), one.key);
    return one;
  }
  const fresher = object({ prompts: { [prompt.frame]: made }, edited: true });
  fresher.label = `object ${fresher.id}`;
  commit([...state.objects, fresher], fresher.key);
  return fresher;
}

// All prompts of an object on this frame with one more.  An object of words goes on from its box.
function extended(one, { frame, point: at, positive, box: corners }) {
  const before = one?.prompts[frame];
  const points = [...(before?.points ?? [])];
  const labels = [...(before?.labels ?? [])];
  if (at) {
    points.push(at);
    labels.push(positive ? 1 : 0);
  }
  let around = corners ?? before?.box ?? null;
  const here = one && !before ? seen(one, frame) : null;
  if (here && !around) around = positive && at ? grown(here.box, at) : here.box;
  return { points, labels, box: around, earlier: before?.choices[before.choice]?.id };
}

const grown = ([x0, y0, x1, y1], [x, y]) => [Math.min(x0, x), Math.min(y0, y), Math.max(x1, x), Math.max(y1, y)];
