//! The messages of OTLP for logs, with the field numbers and the JSON names of its own definitions
//! (<https://github.com/open-telemetry/opentelemetry-proto>). Only what is written or read of them is here.

use prost::{Message, Oneof};
use serde::{Serialize, Serializer};

/// `ExportLogsServiceRequest`
#[derive(Clone, PartialEq, Message, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LogsRequest {
    /// One for each resource.
    #[prost(message, repeated, tag = "1")]
    pub resource_logs: Vec<ResourceLogs>,
}

/// `ResourceLogs`
#[derive(Clone, PartialEq, Message, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ResourceLogs {
    /// Whose they are.
    #[prost(message, optional, tag = "1")]
    pub resource: Option<Resource>,
    /// One for each program that wrote some.
    #[prost(message, repeated, tag = "2")]
    pub scope_logs: Vec<ScopeLogs>,
    /// The semantic conventions that the resource follows.
    #[prost(string, tag = "3")]
    pub schema_url: String,
}

/// `Resource`
#[derive(Clone, PartialEq, Message, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Resource {
    /// What it is.
    #[prost(message, repeated, tag = "1")]
    pub attributes: Vec<KeyValue>,
}

/// `ScopeLogs`
#[derive(Clone, PartialEq, Message, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ScopeLogs {
    /// What wrote them.
    #[prost(message, optional, tag = "1")]
    pub scope: Option<Scope>,
    /// The records.
    #[prost(message, repeated, tag = "2")]
    pub log_records: Vec<LogRecord>,
    /// The semantic conventions that the records follow.
    #[prost(string, tag = "3")]
    pub schema_url: String,
}

/// `InstrumentationScope`
#[derive(Clone, PartialEq, Message, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Scope {
    /// Its name.
    #[prost(string, tag = "1")]
    pub name: String,
    /// Its version.
    #[prost(string, tag = "2")]
    pub version: String,
}

/// `LogRecord`
#[derive(Clone, PartialEq, Message, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LogRecord {
    /// When it happened, in nanoseconds since 1970.
    #[prost(fixed64, tag = "1")]
    #[serde(serialize_with = "as_text")]
    pub time_unix_nano: u64,
    /// When it was told, in nanoseconds since 1970.
    #[prost(fixed64, tag = "11")]
    #[serde(serialize_with = "as_text")]
    pub observed_time_unix_nano: u64,
    /// 9 is INFO, 13 WARN, 17 ERROR.
    #[prost(int32, tag = "2")]
    pub severity_number: i32,
    /// The same as a word.
    #[prost(string, tag = "3")]
    pub severity_text: String,
    /// The name of the event; all events of one name have the same attributes.
    #[prost(string, tag = "12")]
    pub event_name: String,
    /// The sentence.
    #[prost(message, optional, tag = "5")]
    pub body: Option<AnyValue>,
    /// The rest.
    #[prost(message, repeated, tag = "6")]
    pub attributes: Vec<KeyValue>,
}

/// `KeyValue`
#[derive(Clone, PartialEq, Message, Serialize)]
pub struct KeyValue {
    /// Its name.
    #[prost(string, tag = "1")]
    pub key: String,
    /// Its value.
    #[prost(message, optional, tag = "2")]
    pub value: Option<AnyValue>,
}

/// `AnyValue`
#[derive(Clone, PartialEq, Message, Serialize)]
pub struct AnyValue {
    /// One of the types.
    #[prost(oneof = "Any", tags = "1, 3, 5")]
    #[serde(flatten)]
    pub value: Option<Any>,
}

/// The types of `AnyValue` that are used.
#[derive(Clone, PartialEq, Oneof, Serialize)]
pub enum Any {
    /// Text.
    #[prost(string, tag = "1")]
    #[serde(rename = "stringValue")]
    Text(String),
    /// A whole number.
    #[prost(int64, tag = "3")]
    #[serde(rename = "intValue", serialize_with = "as_text")]
    Whole(i64),
    /// Several values.
    #[prost(message, tag = "5")]
    #[serde(rename = "arrayValue")]
    List(ArrayValue),
}

/// `ArrayValue`
#[derive(Clone, PartialEq, Message, Serialize)]
pub struct ArrayValue {
    /// In their order.
    #[prost(message, repeated, tag = "1")]
    pub values: Vec<AnyValue>,
}

/// `ExportLogsServiceResponse`
#[derive(Clone, PartialEq, Message)]
pub struct LogsResponse {
    /// Set if not all were accepted, or if there is something to say.
    #[prost(message, optional, tag = "1")]
    pub partial_success: Option<PartialSuccess>,
}

/// `ExportLogsPartialSuccess`
#[derive(Clone, PartialEq, Message)]
pub struct PartialSuccess {
    /// So many were not accepted.
    #[prost(int64, tag = "1")]
    pub rejected_log_records: i64,
    /// Why.
    #[prost(string, tag = "2")]
    pub error_message: String,
}

/// `google.rpc.Status`: how a call failed.
#[derive(Clone, PartialEq, Message)]
pub struct Status {
    /// A status code of gRPC.
    #[prost(int32, tag = "1")]
    pub code: i32,
    /// For people.
    #[prost(string, tag = "2")]
    pub message: String,
    /// For programs.
    #[prost(message, repeated, tag = "3")]
    pub details: Vec<Detail>,
}

/// `google.protobuf.Any`
#[derive(Clone, PartialEq, Message)]
pub struct Detail {
    /// Which message it is.
    #[prost(string, tag = "1")]
    pub type_url: String,
    /// Its bytes.
    #[prost(bytes = "vec", tag = "2")]
    pub value: Vec<u8>,
}

/// `google.rpc.RetryInfo`: the call may be made again.
#[derive(Clone, PartialEq, Message)]
pub struct RetryInfo {
    /// After so long.
    #[prost(message, optional, tag = "1")]
    pub retry_delay: Option<Delay>,
}

/// `google.protobuf.Duration`
#[derive(Clone, PartialEq, Message)]
pub struct Delay {
    /// Whole seconds.
    #[prost(int64, tag = "1")]
    pub seconds: i64,
    /// And nanoseconds.
    #[prost(int32, tag = "2")]
    pub nanos: i32,
}

/// 64-bit numbers are text in the JSON of protobuf.
fn as_text<S: Serializer>(number: &impl ToString, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&number.to_string())
}
