// The list of objects: choose, name, hide, remove.

import { redraw, view } from './canvas.js';
import { colourOf, css } from './colours.js';
import { choose, hide, other, remove, rename } from './edit.js';
import { passes, seen, state } from './state.js';

const rows = new Map(); // key -> element
let lastChosen = null;
const by = (id) => document.getElementById(id);

// Bring the list up to date; elements of objects that are there stay, so that the focus does.
export function show() {
  const list = by('objects');
  const wanted = state.objects.filter(passes);
  const keys = new Set(wanted.map(({ key }) => key));
  for (const [key, row] of rows) {
    if (keys.has(key)) continue;
    leave(list, row);
    rows.delete(key);
  }
  wanted.forEach((one, i) => {
    const row = rows.get(one.key) ?? made(one.key);
    fill(row, one);
    if (list.children[i] !== row) list.insertBefore(row, list.children[i] ?? null);
  });
  keepInSight(list);
  by('none').hidden = wanted.length > 0;
  by('none').textContent = state.objects.length ? 'All scores are below the slider.' : 'Type words, or click on something.';
  const below = state.objects.length - wanted.length;
  by('count').textContent = state.objects.length ? `${wanted.length}${below ? ` of ${state.objects.length}` : ''}` : '';
}

// Scroll the list, and nothing else, to the object that is chosen now.
function keepInSight(list) {
  if (state.chosen === lastChosen) return;
  lastChosen = state.chosen;
  const row = rows.get(state.chosen);
  if (!row) return;
  const [edge, own] = [list.getBoundingClientRect(), row.getBoundingClientRect()];
  list.scrollTop += Math.min(0, own.top - edge.top) + Math.max(0, own.bottom - edge.bottom);
}

function made(key) {
  const row = by('rowTemplate').content.firstElementChild.cloneNode(true);
  const part = (name) => row.querySelector(`.${name}`);
  rows.set(key, row);
  part('pick').addEventListener('click', () => choose(state.chosen === key ? null : key));
  part('hide').addEventListener('click', () => hide(key));
  part('drop').addEventListener('click', () => remove(key));
  part('other').addEventListener('click', () => {
    choose(key);
    other(key);
  });
  const name = part('name');
  name.addEventListener('change', () => {
    const one = state.objects.find((each) => each.key === key);
    const label = name.value.trim();
    if (one && label && label !== one.label) rename(key, label);
    else if (one) name.value = one.label;
  });
  name.addEventListener('keydown', (event) => {
    if (event.key === 'Escape') name.value = state.objects.find((each) => each.key === key)?.label ?? '';
    if (event.key === 'Enter' || event.key === 'Escape') name.blur();
    event.stopPropagation();
  });
  row.addEventListener('keydown', (event) => {
    const to = { ArrowDown: row.nextElementSibling, ArrowUp: row.previousElementSibling }[event.key];
    if (to) to.querySelector('.pick').focus();
    else if (event.key === 'Delete') remove(key);
    else return;
    event.preventDefault();
  });
  row.addEventListener('pointerenter', () => hovered(key));
  row.addEventListener('pointerleave', () => hovered(null));
  return row;
}

function fill(row, one) {
  const part = (name) => row.querySelector(`.${name}`);
  const here = seen(one);
  const prompt = one.prompts[state.frame];
  const picked = one.key === state.chosen;
  row.classList.toggle('chosen', picked);
  row.classList.toggle('away', one.hidden || !here?.mask);
  part('pick').setAttribute('aria-pressed', String(picked));
  part('swatch').style.backgroundColor = css(colourOf(one.label));
  const name = part('name');
  if (document.activeElement !== name) name.value = one.label;
  name.setAttribute('aria-label', `Name of ${one.label}`);
  const score = here?.score === undefined ? '–' : here.score.toFixed(2);
  part('score').textContent = score;
  part('pick').setAttribute('aria-label', `Choose ${one.label}, ${here?.score === undefined ? 'not on this frame' : `score ${score}`}`);
  const many = prompt?.choices.length > 1;
  part('other').hidden = !many;
  if (many) {
    part('other').textContent = `${prompt.choice + 1}/${prompt.choices.length}`;
    part('other').title = 'Another mask of the same click (M)';
    part('other').setAttribute('aria-label', `Mask ${prompt.choice + 1} of ${prompt.choices.length}: show another`);
  }
  part('hide').setAttribute('aria-pressed', String(one.hidden));
  part('hide').setAttribute('aria-label', `Hide ${one.label}`);
  part('hide').title = one.hidden ? 'Show' : 'Hide';
  part('hide').querySelector('use').setAttribute('href', one.hidden ? '#i-shut' : '#i-eye');
  part('drop').setAttribute('aria-label', `Remove ${one.label}`);
  part('drop').title = 'Remove';
}

// Where a row with the focus goes, the next one gets it.
function leave(list, row) {
  const focused = row.contains(document.activeElement);
  const heir = row.nextElementSibling ?? row.previousElementSibling;
  row.remove();
  if (focused) (heir?.querySelector('.pick') ?? by('canvas')).focus();
}

function hovered(key) {
  view.hover = key;
  redraw();
}
