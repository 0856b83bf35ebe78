// Runs the model on all images and reports the raw outputs and the time of each call: web/browser.py.

import { measureOutputs, reportDone } from "./outputs.mjs";

await reportDone(() => measureOutputs());
