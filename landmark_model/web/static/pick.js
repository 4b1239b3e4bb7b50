// A click on the map is a position: where it is on the earth goes into the fields beside it.
const [A1, A2, A3, A4] = [1.340264, -0.081106, 0.000893, 0.003796];
const [EAST, NORTH] = [2.70663, 1.31737];
// The inverse of the Equal Earth projection, the earth `width` px wide: see worldmap.py.
const onEarth = ({ x, y }, width) => {
  const scale = width / 2 / EAST;
  const [across, up] = [x / scale - EAST, NORTH - y / scale];
  const slope = (t) => A1 + 3 * A2 * t ** 2 + 7 * A3 * t ** 6 + 9 * A4 * t ** 8;
  let t = up;
  for (let i = 0; i < 12; i++) t -= (A1 * t + A2 * t ** 3 + A3 * t ** 7 + A4 * t ** 9 - up) / slope(t);
  const turn = 180 / Math.PI;
  return [turn * Math.asin((2 / Math.sqrt(3)) * Math.sin(t)),
    (turn * 3 * across * slope(t)) / (2 * Math.sqrt(3) * Math.cos(t))];
};
const inPx = (event, drawing) =>
  new DOMPoint(event.clientX, event.clientY).matrixTransform(drawing.getScreenCTM().inverse());
element.addEventListener("click", (event) => {
  const [map, inset] = [event.target.closest("svg"), event.target.closest(".inset")];
  if (!map) return;
  const [longitude, latitude, across, down] = element.querySelector(".pick").dataset.window.split(" ").map(Number);
  const point = inPx(event, inset ?? map);
  const { width, height } = map.viewBox.baseVal;
  const found = inset ? onEarth(point, 132) : down
    ? [latitude - (point.y - height / 2) / down, longitude + (point.x - width / 2) / across]
    : onEarth(point, width);
  const turned = ((found[1] + 540) % 360) - 180;
  if (!(Math.abs(found[0]) <= 90) || (!down && Math.abs(found[1]) > 180)) return;
  for (const [name, value] of [["latitude", found[0]], ["longitude", turned]]) {
    const field = document.querySelector(`#teach-${name} input`);
    field.value = value.toFixed(4);
    field.dispatchEvent(new Event("input", { bubbles: true }));
  }
});
