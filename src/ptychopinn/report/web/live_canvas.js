// The widget of a notebook: the phase, a curve of the misfits, and a line of text.

const WIDTH = 240;
const HEIGHT = 48;

// Points of a polyline, the misfits on a logarithmic scale where they allow it.
function curve(misfits) {
  if (misfits.length < 2) return "";
  const logarithmic = misfits.every((value) => value > 0);
  const values = misfits.map((value) => (logarithmic ? Math.log(value) : value));
  const low = Math.min(...values);
  const span = Math.max(...values) - low || 1;
  return values
    .map((value, k) => {
      const x = (k / (values.length - 1)) * WIDTH;
      const y = HEIGHT - 2 - ((value - low) / span) * (HEIGHT - 4);
      return `${x.toFixed(1)},${y.toFixed(1)}`;
    })
    .join(" ");
}

function render({ model, el }) {
  const image = document.createElement("img");
  image.alt = "The phase as it is being found";
  image.style.cssText = "max-width:100%;min-width:min(240px,100%);image-rendering:pixelated";
  const space = "http://www.w3.org/2000/svg";
  const drawing = document.createElementNS(space, "svg");
  drawing.setAttribute("viewBox", `0 0 ${WIDTH} ${HEIGHT}`);
  drawing.setAttribute("role", "img");
  drawing.setAttribute("aria-label", "Misfit of the passes");
  drawing.style.cssText = `width:${WIDTH}px;height:${HEIGHT}px`;
  const line = document.createElementNS(space, "polyline");
  line.setAttribute("fill", "none");
  line.setAttribute("stroke", "currentColor");
  line.setAttribute("stroke-width", "1.5");
  drawing.append(line);
  const words = document.createElement("div");
  words.setAttribute("aria-live", "polite");

  // Takes no room before there is something to show.
  const shown = (element, there) => { element.style.display = there ? "block" : "none"; };

  let address = "";
  const onPicture = () => {
    const bytes = model.get("picture");
    const before = address;
    address = "";
    if (bytes && bytes.byteLength) {
      address = URL.createObjectURL(new Blob([bytes], { type: "image/png" }));
      image.src = address;
    }
    shown(image, Boolean(address));
    if (before) URL.revokeObjectURL(before);
  };
  const onMisfits = () => {
    const points = curve(model.get("misfits"));
    line.setAttribute("points", points);
    shown(drawing, Boolean(points));
  };
  const onCaption = () => { words.textContent = model.get("caption"); };

  el.append(image, drawing, words);
  onPicture();
  onMisfits();
  onCaption();
  model.on("change:picture", onPicture);
  model.on("change:misfits", onMisfits);
  model.on("change:caption", onCaption);
  return () => {
    model.off("change:picture", onPicture);
    model.off("change:misfits", onMisfits);
    model.off("change:caption", onCaption);
    if (address) URL.revokeObjectURL(address);
  };
}

export default { render };
