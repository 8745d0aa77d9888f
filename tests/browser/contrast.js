// Every text that can be seen and has too little contrast (WCAG 2 AA), as [text, ratio, ink, ground, place].
() => {
  const canvas = Object.assign(document.createElement('canvas'), {width: 1, height: 1});
  const brush = canvas.getContext('2d', {willReadFrequently: true}), colours = new Map();
  const colour = (css) => {                                         // whatever CSS calls it -> [r, g, b, alpha]
    if (!colours.has(css)) {
      brush.clearRect(0, 0, 1, 1);
      brush.fillStyle = css;
      brush.fillRect(0, 0, 1, 1);
      const [r, g, b, a] = brush.getImageData(0, 0, 1, 1).data;
      colours.set(css, [r, g, b, a / 255]);
    }
    return colours.get(css);
  };
  const over = (top, below, alpha) => [0, 1, 2].map(i => top[i] * alpha + below[i] * (1 - alpha));
  const canvasColour = matchMedia('(prefers-color-scheme: dark)').matches
    && getComputedStyle(document.documentElement).colorScheme.includes('dark') ? [18, 18, 18] : [255, 255, 255];
  const grounds = new Map(), opacities = new Map();
  const ground = (element) => {                                     // what lies behind its text, opaque
    if (!element) return canvasColour;
    if (!grounds.has(element)) {
      const [r, g, b, a] = colour(getComputedStyle(element).backgroundColor);
      grounds.set(element, a === 1 ? [r, g, b] : over([r, g, b], ground(element.parentElement), a));
    }
    return grounds.get(element);
  };
  const opacity = (element) => {
    if (!element) return 1;
    if (!opacities.has(element)) {
      opacities.set(element, Number(getComputedStyle(element).opacity) * opacity(element.parentElement));
    }
    return opacities.get(element);
  };
  const light = (rgb) => rgb.map(c => c / 255).map(c => c <= .04045 ? c / 12.92 : ((c + .055) / 1.055) ** 2.4)
    .reduce((sum, c, i) => sum + c * [.2126, .7152, .0722][i], 0);
  const bad = new Map();
  let measured = 0;
  const measure = (element, text) => {
    const style = getComputedStyle(element);
    const [r, g, b, a] = colour(style.color), behind = ground(element);
    const ink = over([r, g, b], behind, a * opacity(element));
    const [low, high] = [light(ink), light(behind)].sort((x, y) => x - y);
    const ratio = (high + .05) / (low + .05), size = parseFloat(style.fontSize);
    const least = size >= 24 || (size >= 18.66 && Number(style.fontWeight) >= 700) ? 3 : 4.5;
    measured += 1;
    if (ratio < least) {
      const place = `${element.parentElement?.className} > ${element.localName}.${element.className}`;
      bad.set(`${place} ${ink.map(Math.round)}`, [text.trim().slice(0, 40), Number(ratio.toFixed(2)),
        ink.map(Math.round).join(), behind.map(Math.round).join(), place]);
    }
  };
  const seen = (element, box) => box.width > 1 && box.height > 1
    && element.checkVisibility({visibilityProperty: true, opacityProperty: true});
  const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT), range = document.createRange();
  while (texts.nextNode()) {
    const element = texts.currentNode.parentElement;
    if (!texts.currentNode.data.trim()) continue;
    if (element.closest('script, style, noscript, svg, mjx-assistive-mml, :disabled')) continue;
    range.selectNodeContents(texts.currentNode);
    const box = range.getBoundingClientRect();
    if (seen(element, box)) measure(element, texts.currentNode.data);
  }
  for (const formula of document.querySelectorAll('mjx-container')) {
    const box = formula.getBoundingClientRect();
    if (seen(formula, box)) measure(formula, 'formula');
  }
  return {measured, bad: [...bad.values()]};
}
