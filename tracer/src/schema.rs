//! JSON Schemas of lines, generated from the types that are written.

use schemars::{JsonSchema, SchemaGenerator, generate::SchemaSettings};
use serde_json::{Value, json};

/// A schema of lines, each of which is one of several types.
pub(crate) struct Lines {
    generator: SchemaGenerator,
    lines: Vec<Value>,
}

impl Lines {
    /// Without any type.
    pub fn new() -> Self {
        Self { generator: SchemaSettings::draft2020_12().for_serialize().into_generator(), lines: Vec::new() }
    }

    /// Lines with this `type`, that have the fields of `T` and these besides, of which some are required.
    pub fn with<T: JsonSchema>(mut self, kind: &str, mut properties: Value, required: &[&str]) -> Self {
        let body = self.generator.subschema_for::<T>().to_value();
        properties["type"] = json!({ "const": kind });
        let required = [&["type"], required].concat();
        self.lines.push(json!({ "title": kind, "properties": properties, "required": required, "allOf": [body] }));
        self
    }

    /// The whole schema.
    pub fn finish(mut self, title: &str, description: &str) -> Value {
        json!({
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "title": title,
            "description": description,
            "oneOf": self.lines,
            "$defs": self.generator.take_definitions(true)
        })
    }
}
