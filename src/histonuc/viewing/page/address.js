/**
 * The address of the page: the token leaves it at once, afterwards it holds the view only.
 * @module
 */

const STORAGE = "histonuc-token";

/**
 * @typedef {object} Place
 * @property {number} [slide] number of the slide
 * @property {number} [x] centre of the view, level-0 pixels
 * @property {number} [y] centre of the view, level-0 pixels
 * @property {number} [mag] magnification
 */

/**
 * Take the token out of the address and keep it for this tab, so that a reload works.
 * @returns {string} the token, empty where there is none
 */
export function takeToken() {
  const words = new URLSearchParams(location.hash.slice(1));
  const token = words.get("token");
  if (token) {
    sessionStorage.setItem(STORAGE, token);
    words.delete("token");
    history.replaceState(null, "", `#${words.toString().replaceAll("%2C", ",")}`);
  }
  return token ?? sessionStorage.getItem(STORAGE) ?? "";
}

/** @returns {Place} what the address says */
export function readPlace() {
  const words = new URLSearchParams(location.hash.slice(1));
  const slide = words.get("slide");
  const at = (words.get("at") ?? "").split(",").map(Number);
  /** @type {Place} */
  const place = slide !== null && /^\d+$/.test(slide) ? { slide: Number(slide) } : {};
  if (at.length === 3 && at.every(Number.isFinite) && at[2] > 0) {
    [place.x, place.y, place.mag] = at;
  }
  return place;
}

/**
 * X,Y,MAG as the command and the address write it.
 * @param {Required<Omit<Place, "slide">>} place centre and magnification
 */
export const formatPlace = ({ x, y, mag }) => `${Math.round(x)},${Math.round(y)},${Number(mag.toPrecision(4))}`;

/**
 * Write the view into the address, without a new entry in the history.
 * @param {Required<Place>} place the view
 */
export function writePlace(place) {
  history.replaceState(null, "", `#slide=${place.slide}&at=${formatPlace(place)}`);
}
