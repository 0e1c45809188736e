// Files of what is shown: nothing is asked for, masks become run lengths here.

import { rendered, view } from './canvas.js';
import { colourOf } from './colours.js';
import { sheet } from './masks.js';
import { numbered } from './png.js';
import { shown, state } from './state.js';
import { followedFrames } from './video.js';

const MOST = 255;

// What goes into a file: the chosen object, or all that are shown.
export function chosenOrAll() {
  const all = shown();
  const mine = all.filter(({ one }) => one.key === state.chosen);
  return mine.length ? mine : all;
}

const WRITERS = {
  json: async () => [asText(state.results.size ? await tracks() : segments()), 'json'],
  coco: async () => [asText(coco()), 'coco.json'],
  masks: async () => [await labelled(), 'masks.png'],
  picture: async () => [await asPng(rendered()), 'masked.png'],
  cutout: async () => [await asPng(cutout()), 'cutout.png'],
};

export async function save(kind) {
  const [blob, ending] = await WRITERS[kind]();
  const link = document.createElement('a');
  link.href = URL.createObjectURL(blob);
  link.download = `${state.media.name.replace(/\.[^.]*$/, '').replace(/[^\p{L}\p{N}._ -]/gu, '_') || 'picture'}.${ending}`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
  return link.download;
}

const asText = (value) => new Blob([`${JSON.stringify(value, null, 1)}\n`], { type: 'application/json' });
const asPng = (canvas) => new Promise((done) => canvas.toBlob(done, 'image/png'));

// As POST /v1/segment answers.
function segments() {
  const { width, height } = state.media;
  const all = shown();
  const labels = [...new Set([...(state.asked?.queries ?? []), ...all.map(({ one }) => one.label)])];
  return {
    image: state.media.name,
    width,
    height,
    pipeline: state.asked?.pipeline ?? null,
    queries: labels,
    segments: all.map(({ one, here }) => ({ label: one.label, label_id: labels.indexOf(one.label), ...asObject(here) })),
  };
}

function asObject({ score, box, area, mask }) {
  return { score, box, area, mask: mask.rle(state.media.width, state.media.height) };
}

function coco() {
  const { name, width, height } = state.media;
  const all = shown();
  const names = [...new Set(all.map(({ one }) => one.label))];
  return {
    images: [{ id: 1, file_name: name, width, height }],
    categories: names.map((label, i) => ({ id: i + 1, name: label })),
    annotations: all.map(({ one, here: { score, box: [x0, y0, x1, y1], area, mask } }, i) => ({
      id: i + 1,
      image_id: 1,
      category_id: names.indexOf(one.label) + 1,
      bbox: [x0, y0, x1 - x0, y1 - y0],
      area,
      iscrowd: 0,
      score,
      segmentation: mask.rle(width, height),
    })),
  };
}

async function tracks() {
  const { name, width, height, fps } = state.media;
  const wanted = new Map(state.objects.filter((one) => !one.hidden).map((one) => [one.id, one.label]));
  const frames = [];
  for await (const [index, objects] of followedFrames()) {
    const mine = objects.filter(({ id, mask }) => mask && wanted.has(id));
    frames.push({ index, objects: mine.map((each) => ({ id: each.id, label: wanted.get(each.id), ...asObject(each) })) });
  }
  return { video: name, width, height, fps, frames };
}

// Pixels are numbers of objects, from 1 in the order of the JSON; the small lie over the large.
async function labelled() {
  const { width, height } = state.media;
  const numbers = new Uint8Array(width * height);
  const all = shown().slice(0, MOST).map(({ one, here }, i) => ({ one, here, number: i + 1 }));
  for (const { here: { mask }, number } of [...all].sort((a, b) => b.here.area - a.here.area)) {
    for (let j = 0; j < mask.h; j++) {
      for (let i = 0; i < mask.w; i++) if (mask.on[j * mask.w + i]) numbers[(mask.y + j) * width + mask.x + i] = number;
    }
  }
  return numbered(numbers, width, height, [[0, 0, 0], ...all.map(({ one }) => colourOf(one.label))]);
}

function cutout() {
  const { width, height } = state.media;
  const all = chosenOrAll().map(({ here }) => here.mask);
  const x = Math.min(...all.map((mask) => mask.x));
  const y = Math.min(...all.map((mask) => mask.y));
  const made = sheet(Math.max(...all.map((mask) => mask.x + mask.w)) - x, Math.max(...all.map((mask) => mask.y + mask.h)) - y);
  const context = made.getContext('2d');
  for (const mask of all) context.drawImage(mask.painted([0, 0, 0]), mask.x - x, mask.y - y);
  context.globalCompositeOperation = 'source-in';
  context.drawImage(view.bitmap, -x, -y, width, height);
  return made;
}
