// The picture with masks over it: what is where, enlarged and moved, sharp on every screen.

import { colourOf, css, lettersOn } from './colours.js';
import { chosen, shown, state } from './state.js';

const MARGIN = 14;
const MOST = 40; // screen pixels a pixel
const FONT = '600 13px system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", sans-serif';
const MANY = 40; // objects from which only chosen ones have plates

export const view = { scale: 1, x: 0, y: 0, fitted: true, rubber: null, cross: null, hover: null, bitmap: null };

const layer = { canvas: document.createElement('canvas'), of: [] };
let canvas = null;
let waiting = false;

export function start(element) {
  canvas = element;
  new ResizeObserver(() => {
    if (view.fitted) fit();
    redraw();
  }).observe(canvas.parentElement);
  matchMedia('(prefers-color-scheme: dark)').addEventListener('change', redraw);
}

export function redraw() {
  if (waiting) return;
  waiting = true;
  requestAnimationFrame(() => {
    waiting = false;
    paint();
  });
}

export function fit() {
  const { media } = state;
  if (!media) return;
  const [w, h] = extent();
  const below = document.getElementById('tools').offsetHeight + MARGIN; // tools cover nothing
  const room = Math.max(0.01, Math.min((w - 2 * MARGIN) / media.width, (h - MARGIN - below) / media.height));
  Object.assign(view, { scale: room, x: (w - room * media.width) / 2, y: (MARGIN + h - below - room * media.height) / 2, fitted: true });
  redraw();
}

// Enlarge around a place of the screen, by default the middle.
export function zoom(factor, x = extent()[0] / 2, y = extent()[1] / 2) {
  const scale = Math.min(MOST, Math.max(0.02, view.scale * factor));
  const by = scale / view.scale;
  Object.assign(view, { scale, x: x - by * (x - view.x), y: y - by * (y - view.y), fitted: false });
  redraw();
}

export function pan(x, y) {
  Object.assign(view, { x: view.x + x, y: view.y + y, fitted: false });
  redraw();
}

// From the screen to the picture, no further than its edge.
export function inPicture(x, y) {
  const { width, height } = state.media;
  return [clamp((x - view.x) / view.scale, width - 0.01), clamp((y - view.y) / view.scale, height - 0.01)];
}

export const onPicture = (x, y) => {
  const [i, j] = [(x - view.x) / view.scale, (y - view.y) / view.scale];
  return i >= 0 && j >= 0 && i < state.media.width && j < state.media.height;
};

// Move the view so that a place of the picture is in it.
export function reveal([x, y]) {
  const [w, h] = extent();
  const [i, j] = [view.x + x * view.scale, view.y + y * view.scale];
  const [dx, dy] = [clamp(i, w - MARGIN, MARGIN) - i, clamp(j, h - MARGIN, MARGIN) - j];
  if (dx || dy) pan(dx, dy);
}

// The picture with masks and names in its own size, for export.
export function rendered() {
  const { media } = state;
  const made = document.createElement('canvas');
  made.width = media.width;
  made.height = media.height;
  const context = made.getContext('2d');
  const size = Math.max(1, Math.min(media.width, media.height) / 600);
  context.drawImage(view.bitmap, 0, 0, media.width, media.height);
  masks(context, 1 / size, null);
  context.setTransform(size, 0, 0, size, 0, 0);
  plates(context, ([x, y]) => [x / size, y / size], [media.width / size, media.height / size], null);
  return made;
}

const clamp = (v, most, least = 0) => Math.min(most, Math.max(least, v));
const extent = () => [canvas.parentElement.clientWidth, canvas.parentElement.clientHeight];
const toScreen = ([x, y]) => [view.x + x * view.scale, view.y + y * view.scale];

function paint() {
  if (!canvas || !state.media || !view.bitmap) return;
  const ratio = devicePixelRatio || 1;
  const [w, h] = extent();
  const [wide, high] = [Math.round(w * ratio), Math.round(h * ratio)];
  if (canvas.width !== wide || canvas.height !== high) Object.assign(canvas, { width: wide, height: high });
  const context = canvas.getContext('2d');
  context.setTransform(1, 0, 0, 1, 0, 0);
  context.clearRect(0, 0, wide, high);
  context.setTransform(ratio * view.scale, 0, 0, ratio * view.scale, ratio * view.x, ratio * view.y);
  context.imageSmoothingEnabled = view.scale * ratio < 4;
  context.imageSmoothingQuality = 'high';
  context.drawImage(view.bitmap, 0, 0, state.media.width, state.media.height);
  masks(context, view.scale, state.chosen);
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  plates(context, toScreen, [w, h], state.chosen);
  prompts(context);
  rubber(context);
  crosshair(context, w, h);
}

function masks(context, scale, picked) {
  const order = shown().sort((a, b) => b.here.area - a.here.area);
  if (order.length && state.opacity) {
    context.globalAlpha = state.opacity;
    context.drawImage(layered(order), 0, 0);
    context.globalAlpha = 0.3;
    for (const { one, here: { mask } } of order) {
      if (one.key === view.hover) context.drawImage(mask.painted(colourOf(one.label)), mask.x, mask.y);
    }
  }
  context.lineJoin = context.lineCap = 'round';
  for (const { one, here } of order) {
    const [mine, colour] = [one.key === picked, css(colourOf(one.label))];
    context.globalAlpha = mine ? 1 : clamp(2.2 * state.opacity, 1);
    stroke(context, here.mask.outline, mine ? 'rgb(255 255 255 / .95)' : 'rgb(0 0 0 / .35)', (mine ? 5.5 : 3.2) / scale);
    stroke(context, here.mask.outline, colour, (mine ? 2.8 : 1.9) / scale);
  }
  context.globalAlpha = 1;
}

// All masks at full strength, the small over the large, so that colours do not mix.
function layered(order) {
  const { width, height } = state.media;
  const same = layer.of.length === order.length && order.every(({ one, here }, i) => layer.of[i][0] === here.mask && layer.of[i][1] === one.label);
  if (same && layer.canvas.width === width && layer.canvas.height === height) return layer.canvas;
  Object.assign(layer.canvas, { width, height }); // empties it, too
  const context = layer.canvas.getContext('2d');
  for (const { one, here: { mask } } of order) context.drawImage(mask.painted(colourOf(one.label)), mask.x, mask.y);
  layer.of = order.map(({ one, here }) => [here.mask, one.label]);
  return layer.canvas;
}

function stroke(context, path, style, width) {
  Object.assign(context, { strokeStyle: style, lineWidth: width });
  context.stroke(path);
}

// Points and boxes of the chosen object, and those that are on their way.
function prompts(context) {
  const mine = chosen()?.prompts[state.frame];
  if (mine?.box) dashed(context, mine.box, 1);
  mine?.points.forEach((at, i) => dot(context, toScreen(at), mine.labels[i] === 1, 1));
  for (const one of state.pending) {
    if (one.frame !== state.frame) continue;
    if (one.box) dashed(context, one.box, 0.6);
    else dot(context, toScreen(one.point), one.positive, 0.6);
  }
}

function dot(context, [x, y], positive, alpha) {
  context.globalAlpha = alpha;
  context.beginPath();
  context.arc(x, y, 7, 0, 2 * Math.PI);
  context.fillStyle = positive ? '#137a3a' : '#c22a2a';
  context.fill();
  Object.assign(context, { strokeStyle: '#fff', lineWidth: 2 });
  context.stroke();
  context.beginPath();
  context.moveTo(x - 3.2, y);
  context.lineTo(x + 3.2, y);
  if (positive) {
    context.moveTo(x, y - 3.2);
    context.lineTo(x, y + 3.2);
  }
  context.stroke();
  context.globalAlpha = 1;
}

function dashed(context, [x0, y0, x1, y1], alpha) {
  const [[left, top], [right, bottom]] = [toScreen([x0, y0]), toScreen([x1, y1])];
  context.globalAlpha = alpha;
  Object.assign(context, { strokeStyle: 'rgb(0 0 0 / .75)', lineWidth: 3 });
  context.strokeRect(left, top, right - left, bottom - top);
  context.setLineDash([6, 5]);
  Object.assign(context, { strokeStyle: '#fff', lineWidth: 1.6 });
  context.strokeRect(left, top, right - left, bottom - top);
  context.setLineDash([]);
  context.globalAlpha = 1;
}

// Names and scores above their boxes, moved where another one is; never out of sight.
function plates(context, screen, [w, h], picked) {
  context.font = FONT;
  context.textBaseline = 'middle';
  const all = shown();
  const taken = [];
  for (const { one, here } of all) {
    const important = one.key === picked || one.key === view.hover;
    if (!one.label || (!important && (all.length > MANY || one.source === 'everything'))) continue;
    const name = one.label.length > 40 ? `${one.label.slice(0, 39)}…` : one.label;
    const score = here.score === undefined ? '' : here.score.toFixed(2);
    const [long, short] = [context.measureText(name).width, context.measureText(score).width];
    const [wide, high] = [long + (score ? short + 22 : 16), 22];
    const [[left, top], [, bottom]] = [screen(here.box), screen(here.box.slice(2))];
    const x = clamp(left, Math.max(2, w - wide - 2), 2);
    const places = [top - high - 3, top + 3, bottom + 3, bottom - high - 3, top - 2 * high - 6].map((y) => clamp(y, h - high - 2, 2));
    const free = (y) => taken.every(([i, j, k]) => x + wide < i || i + k < x || y + high < j || j + high < y);
    const y = places.find(free) ?? places[0];
    taken.push([x, y, wide]);
    const ground = colourOf(one.label);
    context.beginPath();
    context.roundRect(x, y, wide, high, 6);
    context.fillStyle = css(ground);
    context.fill();
    Object.assign(context, { strokeStyle: important ? '#fff' : 'rgb(0 0 0 / .25)', lineWidth: important ? 2 : 1 });
    context.stroke();
    context.fillStyle = lettersOn(ground);
    context.fillText(name, x + 8, y + high / 2 + 0.5);
    if (score) {
      context.globalAlpha = 0.85;
      context.fillText(score, x + wide - short - 7, y + high / 2 + 0.5);
      context.globalAlpha = 1;
    }
  }
}

function rubber(context) {
  if (view.rubber) dashed(context, view.rubber, 1);
}

function crosshair(context, w, h) {
  if (!view.cross) return;
  const [x, y] = toScreen(view.cross).map((v) => Math.round(v) + 0.5);
  const lines = new Path2D();
  for (const [x0, y0, x1, y1] of [[0, y, x - 6, y], [x + 6, y, w, y], [x, 0, x, y - 6], [x, y + 6, x, h]]) {
    lines.moveTo(x0, y0);
    lines.lineTo(x1, y1);
  }
  lines.rect(x - 6, y - 6, 12, 12);
  stroke(context, lines, 'rgb(0 0 0 / .7)', 3);
  stroke(context, lines, '#fff', 1.2);
}
