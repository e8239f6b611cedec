//! A JSON Schema of every line of a trace.

use schemars::JsonSchema;
use serde_json::{Value, json};

use crate::findings::Finding;
use crate::hierarchy::Header;
use crate::input::{Attempt, Event, Facts, Lost, Process, Stuck, Tick, Written};
use crate::line::Counts;
use crate::schema::Lines;

/// The schema of a line of a trace file, or of `live --json`, which has findings besides.
pub fn schema() -> Value {
    // What every line has besides its type's own fields, and what those of the stream have.
    let timed = json!({ "time": { "type": "string", "format": "date-time" } });
    let mut numbered = timed.clone();
    numbered["seq"] = json!({ "type": "integer", "minimum": 1 });
    Lines::new()
        .with::<Header>("header", timed.clone(), &[])
        .with::<Event>("event", numbered.clone(), &["seq"])
        .with::<Attempt>("attempt", numbered.clone(), &["seq"])
        .with::<Written>("change", numbered.clone(), &["seq"])
        .with::<Stuck>("stuck", numbered.clone(), &["seq"])
        .with::<Process>("process", numbered.clone(), &["seq"])
        .with::<Facts>("facts", numbered.clone(), &["seq"])
        .with::<Lost>("lost", numbered.clone(), &["seq"])
        .with::<Tick>("tick", numbered, &["seq"])
        .with::<Finding>("finding", timed.clone(), &[])
        .with::<End>("end", timed, &[])
        .finish(
            "a line of a cgtrace stream",
            &format!("Format {}. Types and fields that are not known are to be skipped.", super::FORMAT),
        )
}

/// The last line.
#[derive(JsonSchema)]
#[allow(dead_code, reason = "only its shape is of use")]
struct End {
    at: crate::input::BootTime,
    counts: Counts,
}
