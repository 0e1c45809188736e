// Mouse, fingers and pen on the picture.

import { inPicture, onPicture, pan, redraw, view, zoom } from './canvas.js';
import { state, under } from './state.js';

const FAR = 6; // screen pixels from which a press is a drag

// act: {point(at, positive), box(corners), pick(at)}
export function start(canvas, act) {
  const down = new Map(); // pointer -> where it is
  let press = null; // {x, y, kind: 'prompt' | 'pan' | 'pinch', moved, negative}
  let space = false;

  const where = (event) => {
    const edge = canvas.getBoundingClientRect();
    return [event.clientX - edge.left, event.clientY - edge.top];
  };

  canvas.addEventListener('pointerdown', (event) => {
    if (!state.media || event.button > 2) return;
    canvas.focus({ preventScroll: true });
    view.cross = null;
    canvas.setPointerCapture(event.pointerId);
    const [x, y] = where(event);
    down.set(event.pointerId, [x, y]);
    if (down.size === 2) {
      press = { kind: 'pinch', ...spread(down) };
      view.rubber = null;
    } else if (event.button === 1 || space) {
      press = { kind: 'pan', x, y };
      event.preventDefault();
    } else {
      const negative = event.button === 2 || event.altKey || state.tool === 'remove';
      press = { kind: state.tool === 'move' ? 'move' : 'prompt', x, y, negative, moved: false, main: event.button === 0 };
    }
    redraw();
  });

  canvas.addEventListener('pointermove', (event) => {
    const [x, y] = where(event);
    if (!press || !down.has(event.pointerId)) {
      if (event.pointerType === 'mouse') hover(x, y);
      return;
    }
    const [ox, oy] = down.get(event.pointerId);
    down.set(event.pointerId, [x, y]);
    if (press.kind === 'pinch') pinch(press, down);
    else if (press.kind === 'pan' || (press.kind === 'move' && press.moved)) pan(x - ox, y - oy);
    if (Math.hypot(x - press.x, y - press.y) > FAR) press.moved = true;
    if (press.kind === 'prompt' && press.moved && press.main) view.rubber = cornersOf(inPicture(press.x, press.y), inPicture(x, y));
    redraw();
  });

  canvas.addEventListener('pointerup', (event) => {
    const [x, y] = where(event);
    const last = press;
    if (!down.delete(event.pointerId) || !last) return;
    press = down.size ? { kind: 'done' } : null; // the second finger of a pinch is no click
    const { rubber } = view;
    view.rubber = null;
    redraw();
    if (last.kind === 'move' && !last.moved) act.pick(inPicture(x, y));
    if (last.kind !== 'prompt') return;
    if (rubber) {
      if (rubber[2] - rubber[0] >= 1 && rubber[3] - rubber[1] >= 1) act.box(rubber);
    } else if (!last.moved && state.tool !== 'box' && onPicture(x, y)) act.point(inPicture(x, y), !last.negative);
  });

  canvas.addEventListener('pointercancel', (event) => {
    down.delete(event.pointerId);
    press = null;
    view.rubber = null;
    redraw();
  });
  canvas.addEventListener('pointerleave', () => hover(-1e6, 0));
  canvas.addEventListener('contextmenu', (event) => event.preventDefault());
  canvas.addEventListener('wheel', (event) => {
    if (!state.media) return;
    event.preventDefault();
    const [x, y] = where(event);
    zoom(Math.exp(-event.deltaY * (event.deltaMode ? 0.05 : 0.0018)), x, y);
  }, { passive: false });
  canvas.addEventListener('keydown', (event) => {
    if (event.code !== 'Space') return;
    space = true;
    event.preventDefault();
  });
  for (const name of ['keyup', 'blur']) canvas.addEventListener(name, (event) => { if (event.code === 'Space' || name === 'blur') space = false; });
}

export const cornersOf = ([x0, y0], [x1, y1]) => [Math.min(x0, x1), Math.min(y0, y1), Math.max(x0, x1), Math.max(y0, y1)];

function hover(x, y) {
  const key = state.media && onPicture(x, y) ? under(...inPicture(x, y))[0]?.one.key ?? null : null;
  if (key === view.hover) return;
  view.hover = key;
  redraw();
}

function spread(down) {
  const [[x0, y0], [x1, y1]] = [...down.values()];
  return { x: (x0 + x1) / 2, y: (y0 + y1) / 2, apart: Math.hypot(x1 - x0, y1 - y0) };
}

function pinch(press, down) {
  if (down.size !== 2) return;
  const now = spread(down);
  pan(now.x - press.x, now.y - press.y);
  zoom(now.apart / Math.max(1, press.apart), now.x, now.y);
  Object.assign(press, now);
}
