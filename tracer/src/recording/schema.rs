//! A JSON Schema of every line, generated from the types that are written.

use schemars::{JsonSchema, SchemaGenerator, generate::SchemaSettings};
use serde_json::{Value, json};

use crate::findings::Finding;
use crate::hierarchy::Header;
use crate::input::{Attempt, Event, Facts, Lost, Process, Tick};
use crate::line::Counts;

/// The schema of a line of a trace file, or of `live --json`, which has findings besides.
pub fn schema() -> Value {
    let mut generator = SchemaSettings::draft2020_12().for_serialize().into_generator();
    let lines = [
        line::<Header>(&mut generator, "header", false),
        line::<Event>(&mut generator, "event", true),
        line::<Attempt>(&mut generator, "attempt", true),
        line::<Process>(&mut generator, "process", true),
        line::<Facts>(&mut generator, "facts", true),
        line::<Lost>(&mut generator, "lost", true),
        line::<Tick>(&mut generator, "tick", true),
        line::<Finding>(&mut generator, "finding", false),
        line::<End>(&mut generator, "end", false),
    ];
    let definitions = generator.take_definitions(true);
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "a line of a cgtrace stream",
        "description": format!("Format {}. Types and fields that are not known are to be passed over.", super::FORMAT),
        "oneOf": lines,
        "$defs": definitions
    })
}

/// The last line.
#[derive(JsonSchema)]
#[allow(dead_code, reason = "only its shape is of use")]
struct End {
    at: crate::input::BootTime,
    counts: Counts,
}

/// A type's own fields, and what every line begins with.
fn line<T: JsonSchema>(generator: &mut SchemaGenerator, kind: &str, numbered: bool) -> Value {
    let body = generator.subschema_for::<T>().to_value();
    let mut required = vec!["type"];
    let mut properties = json!({ "type": { "const": kind }, "time": { "type": "string", "format": "date-time" } });
    if numbered {
        required.push("seq");
        properties["seq"] = json!({ "type": "integer", "minimum": 1 });
    }
    json!({ "title": kind, "properties": properties, "required": required, "allOf": [body] })
}
