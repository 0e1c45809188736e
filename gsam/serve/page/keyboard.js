// Keys in the picture: a crosshair instead of a mouse.

import { fit, redraw, reveal, view, zoom } from './canvas.js';
import { cornersOf } from './pointer.js';
import { seen, state, under } from './state.js';

const STEP = 8; // screen pixels

// act: as pointer.js, and {anew, other, hide, remove, choose, help, turn(frames), play, say}
export function start(canvas, act) {
  let corner = null;
  const moves = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
  const keys = {
    '+': () => zoom(1.25), '=': () => zoom(1.25), '-': () => zoom(0.8), 0: fit,
    b: begin, m: act.other, n: act.anew, Escape: leave, h: act.hide, Delete: act.remove, Backspace: act.remove,
    '[': () => next(-1), ']': () => next(1), '?': act.help, ',': () => act.turn(-1), '.': () => act.turn(1), p: act.play,
  };

  canvas.addEventListener('keydown', (event) => {
    if (!state.media || event.ctrlKey || event.metaKey || event.altKey) return;
    if (moves[event.key]) move(moves[event.key], event.shiftKey ? 6 * STEP : STEP);
    else if (event.key === 'Enter') enter(!event.shiftKey);
    else if (keys[event.key.length === 1 ? event.key.toLowerCase() : event.key]) keys[event.key.length === 1 ? event.key.toLowerCase() : event.key]();
    else return;
    event.preventDefault();
  });
  canvas.addEventListener('focus', () => {
    if (canvas.matches(':focus-visible')) place();
  });
  canvas.addEventListener('blur', () => {
    view.cross = corner = view.rubber = null;
    redraw();
  });

  function place() {
    view.cross ??= [state.media.width / 2, state.media.height / 2];
    redraw();
  }

  function move([dx, dy], far) {
    place();
    const by = far / view.scale;
    const { width, height } = state.media;
    const [x, y] = view.cross;
    view.cross = [Math.min(width - 1, Math.max(0, x + dx * by)), Math.min(height - 1, Math.max(0, y + dy * by))];
    if (corner) view.rubber = cornersOf(corner, view.cross);
    reveal(view.cross);
    redraw();
    const names = under(...view.cross).map(({ one }) => one.label);
    act.whisper([view.cross.map(Math.round).join(', '), ...names].join(', '));
  }

  function enter(positive) {
    place();
    if (!corner) {
      act.point([...view.cross], positive);
      return;
    }
    const corners = cornersOf(corner, view.cross);
    corner = view.rubber = null;
    redraw();
    if (corners[2] - corners[0] >= 1 && corners[3] - corners[1] >= 1) act.box(corners);
  }

  function begin() {
    place();
    corner = [...view.cross];
    act.whisper('A corner of a box. Move, then press Enter.');
  }

  function leave() {
    if (corner) {
      corner = view.rubber = null;
      redraw();
    } else act.anew();
  }

  function next(by) {
    const all = state.objects.filter((one) => seen(one));
    if (!all.length) return;
    const at = all.findIndex(({ key }) => key === state.chosen);
    const one = all[at < 0 ? (by > 0 ? 0 : all.length - 1) : (at + by + all.length) % all.length];
    act.choose(one.key);
    act.whisper(`${one.label} is chosen`);
  }
}
