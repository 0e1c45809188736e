// The picture or video that is open, and its sessions on the server.

import { ApiError, ask, post } from './api.js';
import { forgetColours } from './colours.js';
import { forget, set, state } from './state.js';

const FRAMES_KEPT = 64;
const SESSIONS_KEPT = 4;
const VIDEO = /\.(mp4|m4v|mov|mkv|avi|webm|mpe?g|ogv)$/i;

const isVideo = (file) => file.type.startsWith('video/') || VIDEO.test(file.name ?? '');

// Open a file; what was open before is let go.
export async function open(file, name = file.name || 'picture') {
  const media = await (isVideo(file) ? video(file, name) : picture(file, name));
  close();
  forget();
  forgetColours();
  set({ media });
  session(media, 0).catch(() => {}); // the first click or word says what is wrong
  return media;
}

// Let the server forget what was open.
export function close(keepalive = false) {
  const { media } = state;
  if (!media) return;
  for (const waiting of media.sessions.values()) waiting.then((id) => drop(`v1/sessions/${id}`, keepalive), () => {});
  if (media.video) drop(`v1/videos/${media.video}`, keepalive);
}

// Call with the id of a frame's session; once more where the server has forgotten it.
export async function withSession(frame, call) {
  const { media } = state;
  try {
    return await call(await session(media, frame));
  } catch (error) {
    if (error.status !== 404) throw error;
    media.sessions.delete(frame);
    return call(await session(media, frame));
  }
}

// The pixels of a frame of a video, or of the picture.
export async function bitmapOf(media, frame) {
  return media.kind === 'picture' ? media.bitmap : (await shot(media, frame)).bitmap;
}

function drop(path, keepalive) {
  ask('DELETE', path, { quiet: true, keepalive }).catch(() => {});
}

async function picture(file, name) {
  let bitmap;
  try {
    bitmap = await createImageBitmap(file);
  } catch {
    throw new ApiError(0, 'unreadable', `This browser cannot show ${name}. Try a JPEG, PNG or WebP.`);
  }
  const { width, height } = bitmap;
  return { kind: 'picture', name, width, height, bitmap, file, sessions: new Map() };
}

async function video(file, name) {
  const form = new FormData();
  form.append('video', file, 'video');
  const { video: id, frames: length, fps, width, height } = await post('v1/videos', { form });
  const media = { kind: 'video', name, width, height, video: id, length, fps, shots: new Map(), sessions: new Map() };
  media.bitmap = await bitmapOf(media, 0);
  return media;
}

// A session per frame that is clicked on: a video's own are few.
function session(media, frame) {
  const known = media.sessions.get(frame);
  if (known) return known;
  if (media.sessions.size >= SESSIONS_KEPT) {
    const [old, waiting] = media.sessions.entries().next().value;
    media.sessions.delete(old);
    waiting.then((id) => drop(`v1/sessions/${id}`), () => {});
  }
  const made = upload(media, frame);
  media.sessions.set(frame, made);
  made.catch(() => media.sessions.delete(frame));
  return made;
}

async function upload(media, frame) {
  const form = new FormData();
  form.append('image', media.kind === 'picture' ? media.file : (await shot(media, frame)).file, 'image');
  const answer = await post('v1/sessions', { form });
  if (media.kind === 'picture') Object.assign(media, { width: answer.width, height: answer.height });
  return answer.session;
}

function shot(media, frame) {
  const { shots } = media;
  const one = shots.get(frame) ?? fetched(media, frame);
  shots.delete(frame); // the one used last is the last to go
  shots.set(frame, one);
  one.catch(() => shots.delete(frame));
  if (shots.size > FRAMES_KEPT) {
    const [old, waiting] = shots.entries().next().value;
    shots.delete(old);
    waiting.then(({ bitmap }) => bitmap !== media.bitmap && bitmap.close(), () => {});
  }
  return one;
}

async function fetched(media, frame) {
  const file = await (await ask('GET', `v1/videos/${media.video}/frames/${frame}`, { quiet: true })).blob();
  return { file, bitmap: await createImageBitmap(file) };
}
