// All that the page knows, and what was before, for undo.  Objects are never changed, only replaced.

export const state = {
  media: null, // what is open: see media.js
  frame: 0, // of a video; 0 for a picture
  objects: [], // see object()
  chosen: null, // key of the object that clicks go on with
  pending: [], // points and boxes that are being asked for: {frame, point, positive} or {frame, box}
  results: new Map(), // of a video: frame -> Map of object's number -> what was followed there
  least: 0, // score below which words' objects are not shown
  opacity: 0.45,
  tool: 'add',
  asked: null, // the answer to the last words, without its objects
};

const past = [];
const future = [];
const listeners = [];
let numbers = 0;
let told = false;

export const onChange = (listener) => listeners.push(listener);

// Tell all views, once however often it is called.
export function changed() {
  if (told) return;
  told = true;
  requestAnimationFrame(() => {
    told = false;
    for (const listener of listeners) listener();
  });
}

// found: score, box, area, mask of a picture's object, from words or everything.  prompts: frame ->
// {points, labels, box, choices: masks of an answer, choice}.  edited: its prompts are newer than results.
export function object(fields) {
  numbers += 1;
  return { key: numbers, id: numbers, label: '', source: 'clicks', found: null, prompts: {}, edited: false, hidden: false, ...fields };
}

export function set(fields) {
  Object.assign(state, fields);
  changed();
}

// Replace the objects; this can be undone.
export function commit(objects, chosen = state.chosen) {
  past.push({ objects: state.objects, chosen: state.chosen });
  if (past.length > 200) past.shift();
  future.length = 0;
  settle(objects, chosen);
}

export function replaced(key, fields) {
  return state.objects.map((one) => (one.key === key ? { ...one, ...fields } : one));
}

export const step = { undo: () => travel(past, future), redo: () => travel(future, past) };
export const can = { undo: () => past.length > 0, redo: () => future.length > 0 };

export function forget() {
  past.length = future.length = numbers = 0;
  set({ objects: [], chosen: null, pending: [], results: new Map(), asked: null, frame: 0 });
}

export const chosen = () => state.objects.find((one) => one.key === state.chosen) ?? null;

// What an object is on the frame that is shown, {score, box, area, mask}, or null.
export function seen(one, frame = state.frame) {
  const prompt = one.prompts[frame];
  const followed = state.results.get(frame)?.get(one.id);
  if (prompt && (one.edited || !followed)) return prompt.choices[prompt.choice];
  return followed ?? (state.media?.kind === 'picture' ? one.found : null);
}

// Whether an object is in what the slider leaves.
export function passes(one) {
  const here = seen(one);
  return one.prompts[state.frame] !== undefined || !here || here.score >= state.least;
}

// Objects that can be seen now, as {one, here}; the first are drawn and written first.
export function shown() {
  const found = [];
  for (const one of state.objects) {
    const here = one.hidden || !passes(one) ? null : seen(one);
    if (here?.mask) found.push({ one, here });
  }
  return found;
}

// The objects that lie under a point, the smallest first.
export function under(x, y) {
  return shown().filter(({ here }) => here.mask.has(x, y)).sort((a, b) => a.here.area - b.here.area);
}

function travel(from, to) {
  const moment = from.pop();
  if (!moment) return false;
  to.push({ objects: state.objects, chosen: state.chosen });
  settle(moment.objects, moment.chosen);
  return true;
}

function settle(objects, wanted) {
  set({ objects, chosen: objects.some((one) => one.key === wanted) ? wanted : null });
}
