// Shows a panel as Grafana does: its transformations, its overrides, and the text and colour of
// each value. Reads {panel, results} on standard input; results are Prometheus' by refId.
globalThis.window = globalThis;
Object.assign(globalThis, {
  location: { search: '', href: 'http://localhost/' },
  localStorage: { getItem: () => null, setItem: () => undefined },
  navigator: { language: 'en-US', languages: ['en-US'] },
});
const data = require('@grafana/data');

const theme = data.createTheme();
const known = data.standardTransformers;
const used = [
  known.mergeTransformer,
  known.sortByTransformer,
  known.organizeFieldsTransformer,
  known.filterFieldsByNameTransformer,
  known.orderFieldsTransformer,
  known.renameFieldsTransformer,
];
data.standardTransformersRegistry.setInit(() =>
  used.map((transformation) => ({
    id: transformation.id,
    name: transformation.name,
    transformation,
    editor: () => null,
  })),
);

// Grafana registers these in its application, of which @grafana/data is a library.
const processors = {
  color: data.identityOverrideProcessor,
  decimals: data.numberOverrideProcessor,
  displayName: data.displayNameOverrideProcessor,
  links: data.identityOverrideProcessor,
  mappings: data.valueMappingsOverrideProcessor,
  max: data.numberOverrideProcessor,
  min: data.numberOverrideProcessor,
  noValue: data.stringOverrideProcessor,
  thresholds: data.thresholdsOverrideProcessor,
  unit: data.unitOverrideProcessor,
};
const registry = new data.FieldConfigOptionsRegistry(() =>
  Object.entries(processors).map(([id, process]) => ({
    id,
    path: id,
    name: id,
    process,
    shouldApply: () => true,
    getItemsCount: () => 1,
    override: () => null,
    editor: () => null,
  })),
);

function tableFrame(refId, several, series) {
  const labels = [...new Set(series.flatMap((one) => Object.keys(one.metric)))];
  const value = several ? `Value #${refId}` : 'Value';
  return data.toDataFrame({
    refId,
    fields: [
      { name: 'Time', type: 'time', values: series.map((one) => one.value[0] * 1000) },
      ...labels.map((name) => ({
        name,
        type: 'string',
        values: series.map((one) => one.metric[name]),
      })),
      { name: value, type: 'number', values: series.map((one) => Number(one.value[1])) },
    ],
  });
}

function seriesFrame(target, one) {
  const points = one.values || [one.value];
  const name = (target.legendFormat || '').replace(/{{(\w+)}}/g, (_, label) => one.metric[label]);
  return data.toDataFrame({
    refId: target.refId,
    fields: [
      { name: 'Time', type: 'time', values: points.map(([time]) => time * 1000) },
      {
        name: 'Value',
        type: 'number',
        labels: one.metric,
        config: { displayNameFromDS: name },
        values: points.map(([, value]) => Number(value)),
      },
    ],
  });
}

function frames({ panel, results }) {
  return panel.targets.flatMap((target) =>
    target.format === 'table'
      ? [tableFrame(target.refId, panel.targets.length > 1, results[target.refId] || [])]
      : (results[target.refId] || []).map((one) => seriesFrame(target, one)),
  );
}

function transformed(panel, made) {
  const context = { interpolate: (text) => text };
  return new Promise((resolve, reject) => {
    data.transformDataFrame(panel.transformations || [], made, context).subscribe({
      next: resolve,
      error: reject,
    });
  });
}

function shown(frame) {
  return frame.fields
    .filter((field) => field.type !== 'time' && !field.config.custom?.hidden)
    .map((field) => ({
      name: data.getFieldDisplayName(field, frame),
      values: field.values.map((value) => {
        const display = field.display(value);
        return { text: data.formattedValueToString(display), color: display.color || '' };
      }),
    }));
}

// A tile or a bar without a series has a value of its own, which is what a host that is down shows.
function empty(panel) {
  const values = data.getFieldDisplayValues({
    fieldConfig: panel.fieldConfig,
    reduceOptions: { calcs: ['lastNotNull'] },
    replaceVariables: (text) => text,
    theme,
    data: [],
  });
  return values.map(({ display }) => ({ name: '', values: [{ text: display.text, color: display.color }] }));
}

async function main() {
  const given = JSON.parse(require('node:fs').readFileSync(0, 'utf8'));
  const made = frames(given);
  const overridden = data.applyFieldOverrides({
    data: await transformed(given.panel, made),
    fieldConfig: given.panel.fieldConfig,
    fieldConfigRegistry: registry,
    replaceVariables: (text) => text,
    theme,
    timeZone: 'utc',
  });
  const fields = made.length ? overridden.flatMap(shown) : empty(given.panel);
  process.stdout.write(JSON.stringify(fields));
}

main();
