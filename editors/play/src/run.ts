// The pane that runs the net: on a drawn digit, an image, or random numbers.

import { ask } from "./api";

export interface Output {
  name: string;
  classes?: [string, number | null, number | null][];
  shape?: number[];
  numbers?: number[];
}

interface Ran {
  outputs: Output[];
  notes: string[];
}

const MAX_IMAGE = 4_000_000; // bytes

function element<T extends HTMLElement>(id: string): T {
  return document.getElementById(id) as T;
}

export class RunPane {
  #canvas = element<HTMLCanvasElement>("canvas");
  #pane = element("run");
  #shape: (number | null)[] = [];
  #last: (() => void) | null = null;
  #number = 0;
  #busy = false; // whether an answer is awaited; what is typed meanwhile is run once
  #again = false;

  constructor(readonly request: () => object, readonly report: (error: unknown) => void) {
    this.#sketch();
    element("clear").addEventListener("click", () => this.clear());
    element("random").addEventListener("click", () => this.#run(() => this.#send(null)));
    const input = element<HTMLInputElement>("image");
    input.addEventListener("change", () => this.#file(input.files?.[0]));
    this.#pane.addEventListener("dragover", (event) => {
      event.preventDefault();
      this.#pane.classList.add("over");
    });
    this.#pane.addEventListener("dragleave", () => this.#pane.classList.remove("over"));
    this.#pane.addEventListener("drop", (event) => {
      event.preventDefault();
      this.#pane.classList.remove("over");
      this.#file(event.dataTransfer?.files[0]);
    });
  }

  // Take the shape of the input of another text, and run it on the same example.
  take(shape: (number | null)[]): void {
    this.#shape = shape;
    element("sketch").hidden = !(shape.length === 3 && shape[0] === 1 && shape[1] && shape[2]);
    if (this.#pane.hidden) return;
    if (this.#busy) this.#again = true;
    else this.#last?.();
  }

  clear(): void {
    this.#canvas.getContext("2d")?.clearRect(0, 0, this.#canvas.width, this.#canvas.height);
    this.#last = null;
    this.#number += 1;
    element("result").replaceChildren();
  }

  #run(example: () => void): void {
    this.#last = example;
    example();
  }

  #file(file: File | undefined): void {
    if (!file) return;
    if (file.size > MAX_IMAGE) return this.report(new Error("The image is too large: up to 4 MB are sent."));
    this.#run(() => this.#send(file));
  }

  async #send(image: Blob | null): Promise<void> {
    this.#number += 1;
    const own = this.#number;
    this.#busy = true;
    try {
      const data = image && (await base64(image));
      const ran = await ask<Ran>("run", { ...this.request(), image: data });
      if (own === this.#number) this.#show(ran);
    } catch (error) {
      if (own !== this.#number) return;
      element("result").replaceChildren();
      this.report(error);
    } finally {
      this.#busy = false;
      if (this.#again) this.#last?.();
      this.#again = false;
    }
  }

  #sketch(): void {
    const canvas = this.#canvas;
    const pen = canvas.getContext("2d");
    if (!pen) return;
    canvas.addEventListener("pointerdown", (event) => {
      canvas.setPointerCapture(event.pointerId);
      this.#stroke(pen, event, true);
    });
    canvas.addEventListener("pointermove", (event) => {
      if (event.buttons) this.#stroke(pen, event, false);
    });
    canvas.addEventListener("pointerup", () => this.#run(() => void this.#digit()));
  }

  #stroke(pen: CanvasRenderingContext2D, event: PointerEvent, begins: boolean): void {
    const scale = this.#canvas.width / this.#canvas.getBoundingClientRect().width;
    const [x, y] = [event.offsetX * scale, event.offsetY * scale];
    pen.strokeStyle = "#fff";
    pen.lineWidth = 22;
    pen.lineCap = pen.lineJoin = "round";
    if (begins) {
      pen.beginPath();
      pen.moveTo(x, y);
    }
    pen.lineTo(x, y);
    pen.stroke();
  }

  // As MNIST's digits are: 20 of 28 pixels high or wide, with the center of mass in the middle.
  async #digit(): Promise<void> {
    const { width, height } = this.#canvas;
    const pixels = this.#canvas.getContext("2d")?.getImageData(0, 0, width, height).data;
    if (!pixels) return;
    let [left, top, right, bottom, mass, sumX, sumY] = [width, height, 0, 0, 0, 0, 0];
    for (let at = 3; at < pixels.length; at += 4) {
      if (!pixels[at]) continue;
      const [x, y] = [((at - 3) / 4) % width, Math.floor((at - 3) / 4 / width)];
      [left, right, top, bottom] = [Math.min(left, x), Math.max(right, x + 1), Math.min(top, y), Math.max(bottom, y + 1)];
      [mass, sumX, sumY] = [mass + pixels[at], sumX + pixels[at] * (x + 0.5), sumY + pixels[at] * (y + 0.5)];
    }
    if (!mass) return;
    const small = document.createElement("canvas");
    [small.height, small.width] = [this.#shape[1] ?? 28, this.#shape[2] ?? 28];
    const pen = small.getContext("2d");
    if (!pen) return;
    const scale = ((20 / 28) * Math.min(small.width, small.height)) / Math.max(right - left, bottom - top);
    pen.fillRect(0, 0, small.width, small.height);
    pen.imageSmoothingQuality = "high";
    pen.setTransform(scale, 0, 0, scale, small.width / 2 - (sumX / mass) * scale, small.height / 2 - (sumY / mass) * scale);
    pen.drawImage(this.#canvas, 0, 0);
    const image = await new Promise<Blob | null>((made) => small.toBlob(made, "image/png"));
    if (image) await this.#send(image);
  }

  #show({ outputs, notes }: Ran): void {
    const found = outputs.map((output) => {
      const table = document.createElement("table");
      table.createCaption().textContent = output.name;
      for (const [label, value, chance] of output.classes ?? []) {
        const row = table.insertRow();
        row.insertCell().textContent = label;
        row.insertCell().textContent = chance === null ? (value ?? NaN).toPrecision(4) : `${(100 * chance).toFixed(1)} %`;
        if (chance === null) continue;
        const bar = document.createElement("meter");
        bar.value = chance;
        row.insertCell().append(bar);
      }
      if (output.shape) table.insertRow().insertCell().textContent = output.shape.join("x");
      (output.numbers ?? []).forEach((number, at) => {
        const row = table.insertRow();
        row.insertCell().textContent = ["smallest", "mean", "largest"][at];
        row.insertCell().textContent = number.toPrecision(4);
      });
      return table;
    });
    const remarks = notes.map((note) => {
      const line = document.createElement("p");
      line.className = "more";
      line.textContent = note;
      return line;
    });
    element("result").replaceChildren(...found, ...remarks);
  }
}

async function base64(data: Blob): Promise<string> {
  const url = await new Promise<string>((made, failed) => {
    const reader = new FileReader();
    reader.onload = () => made(String(reader.result));
    reader.onerror = () => failed(reader.error);
    reader.readAsDataURL(data);
  });
  return url.slice(url.indexOf(",") + 1);
}
