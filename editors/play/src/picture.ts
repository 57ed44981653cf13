// The drawing: a document of its own that becomes part of the page. Boxes and lines of the text lead to each other.

export class Picture {
  #zoom = 0; // 0 is the width of the pane
  #boxes = new Map<number, SVGGElement[]>();

  constructor(readonly pane: HTMLElement, readonly open: (line: number) => void) {}

  show(svg: string, source: string): void {
    const found = new DOMParser().parseFromString(svg, "image/svg+xml").documentElement as unknown as SVGSVGElement;
    if (found.localName !== "svg") throw new Error("the drawing is no SVG");
    this.#boxes.clear();
    for (const group of found.querySelectorAll<SVGGElement>("g")) {
      const places = /^(.*):(\d+)$/.exec(group.querySelector("title")?.textContent?.split("\n").at(-1) ?? "");
      if (places?.[1] !== source) continue;
      const line = Number(places[2]);
      group.classList.add("linked");
      group.addEventListener("click", (event) => {
        event.stopPropagation();
        this.open(line);
      });
      this.#boxes.set(line, [...(this.#boxes.get(line) ?? []), group]);
    }
    this.pane.replaceChildren(found);
    this.#scale();
  }

  mark(line: number): void {
    for (const [each, groups] of this.#boxes) for (const group of groups) group.classList.toggle("here", each === line);
  }

  zoom(factor: number): void {
    const svg = this.pane.querySelector("svg");
    if (!svg) return;
    this.#zoom = factor ? Math.min(4, Math.max(0.1, (svg.clientWidth / svg.viewBox.baseVal.width) * factor)) : 0;
    this.#scale();
  }

  #scale(): void {
    const svg = this.pane.querySelector("svg");
    if (!svg) return;
    const { width, height } = svg.viewBox.baseVal;
    const zoom = this.#zoom || Math.min(1, Math.max(0.35, this.pane.clientWidth / width));
    svg.setAttribute("width", String(width * zoom));
    svg.setAttribute("height", String(height * zoom));
  }
}
