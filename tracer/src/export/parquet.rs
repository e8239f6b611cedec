//! Three tables for query engines: `inputs`, `lives` and `findings`, partitioned `host=…/date=…`.
//!
//! Each table is written in row groups as the trace goes by: memory depends on the live cgroups, not on the length. A
//! life is told when it is over and is filed by its beginning, so around midnight rows of several days take turns.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parquet::basic::{Compression, ZstdLevel};
use parquet::data_type::{ByteArray, ByteArrayType, Int64Type};
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;

use crate::container::Container;
use crate::findings::Finding;
use crate::hierarchy::{Clock, Header};
use crate::input::{BootTime, Cgroup, CgroupId, Change, Exit, HierarchyId, Input, ProcessChange, Seq};
use crate::line::{Line, Output};

/// Rows of a row group at most, and rows of a table that wait to be written.
const ROWS: usize = 65_536;
/// Days whose files are open at a time. One that comes again after that has another file.
const DAYS: usize = 4;
/// Cgroups whose life is not over and that are kept for the table of lives.
const LIVES: usize = 1_048_576;

/// What a column holds. All but the first are nullable.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Type {
    Number,
    Time,
    Text,
}

use Type::{Number, Text, Time};

const INPUTS: &[(&str, Type)] = &[
    ("seq", Number),
    ("time", Time),
    ("type", Text),
    ("change", Text),
    ("operation", Text),
    ("syscall", Text),
    ("errno", Text),
    ("hierarchy", Number),
    ("cgroup_id", Number),
    ("path", Text),
    ("container", Text),
    ("runtime", Text),
    ("pid", Number),
    ("comm", Text),
    ("uid", Number),
    ("exit_code", Number),
    ("exit_signal", Number),
    ("lost", Number),
];

const LIFE: &[(&str, Type)] = &[
    ("hierarchy", Number),
    ("cgroup_id", Number),
    ("path", Text),
    ("container", Text),
    ("runtime", Text),
    ("created", Time),
    ("populated", Time),
    ("emptied", Time),
    ("removed", Time),
    ("released", Time),
    ("created_by", Number),
    ("removed_by", Number),
    ("image", Text),
    // From creation to removal, from the last emptying to release, and from removal to release. Engines have no common
    // way to subtract times.
    ("lifetime_us", Number),
    ("teardown_us", Number),
    ("release_us", Number),
];

const FINDINGS: &[(&str, Type)] = &[
    ("attempts", Number),
    ("id", Text),
    ("revision", Number),
    ("time", Time),
    ("kind", Text),
    ("cause", Text),
    ("severity", Text),
    ("certainty", Text),
    ("summary", Text),
    ("path", Text),
    ("container", Text),
    ("runtime", Text),
    ("pid", Number),
    ("comm", Text),
    ("exit_code", Number),
    ("known_issues", Text),
    ("image", Text),
];

/// One value.
#[derive(Clone, Debug)]
enum Cell {
    Number(i64),
    Text(String),
    Null,
}

impl Cell {
    fn number(value: impl TryInto<i64>) -> Self {
        value.try_into().map_or(Self::Null, Self::Number)
    }

    fn text(value: impl Into<String>) -> Self {
        Self::Text(value.into())
    }

    fn or_null(cell: Option<Self>) -> Self {
        cell.unwrap_or(Self::Null)
    }
}

/// One table: a file a day.
struct Table {
    name: &'static str,
    columns: &'static [(&'static str, Type)],
    /// Those that are open, the one that a row was added to last at the end.
    days: Vec<Day>,
    /// How many files each day has.
    files: BTreeMap<String, u64>,
}

/// Rows of one day that wait to be written, and its file.
struct Day {
    date: String,
    rows: Vec<Vec<Cell>>,
    file: Option<SerializedFileWriter<fs::File>>,
}

impl Table {
    fn new(name: &'static str, columns: &'static [(&'static str, Type)]) -> Self {
        Self { name, columns, days: Vec::new(), files: BTreeMap::new() }
    }

    /// Adds a row of a day.
    fn push(&mut self, root: &Root, date: &str, row: Vec<Cell>) -> io::Result<()> {
        let mut day = match self.days.iter().position(|day| day.date == date) {
            Some(place) => self.days.remove(place),
            None => Day { date: date.to_owned(), rows: Vec::new(), file: None },
        };
        day.rows.push(row);
        self.days.push(day);
        if self.days.len() > DAYS {
            let oldest = self.days.remove(0);
            self.close_day(root, oldest)?;
        }
        if self.days.iter().map(|day| day.rows.len()).sum::<usize>() >= ROWS {
            let mut days = std::mem::take(&mut self.days);
            days.iter_mut().try_for_each(|day| self.write_rows(root, day))?;
            self.days = days;
        }
        Ok(())
    }

    fn write_rows(&mut self, root: &Root, day: &mut Day) -> io::Result<()> {
        if day.rows.is_empty() {
            return Ok(());
        }
        if day.file.is_none() {
            let files = self.files.entry(day.date.clone()).or_default();
            *files += 1;
            day.file = Some(root.create(self.name, &day.date, *files, self.columns)?);
        }
        let rows = std::mem::take(&mut day.rows);
        let Some(file) = &mut day.file else { return Ok(()) };
        let mut group = file.next_row_group().map_err(failed)?;
        let mut index = 0;
        while let Some(mut column) = group.next_column().map_err(failed)? {
            let cells = rows.iter().map(|row| row.get(index).unwrap_or(&Cell::Null));
            let levels: Vec<i16> = cells.clone().map(|cell| i16::from(!matches!(cell, Cell::Null))).collect();
            match self.columns[index].1 {
                Number | Time => {
                    let values: Vec<i64> = cells
                        .filter_map(|cell| match cell {
                            Cell::Number(number) => Some(*number),
                            Cell::Text(_) | Cell::Null => None,
                        })
                        .collect();
                    column.typed::<Int64Type>().write_batch(&values, Some(&levels), None).map_err(failed)?;
                }
                Text => {
                    let values: Vec<ByteArray> = cells
                        .filter_map(|cell| match cell {
                            Cell::Text(text) => Some(ByteArray::from(text.as_str())),
                            Cell::Number(_) | Cell::Null => None,
                        })
                        .collect();
                    column.typed::<ByteArrayType>().write_batch(&values, Some(&levels), None).map_err(failed)?;
                }
            }
            column.close().map_err(failed)?;
            index += 1;
        }
        group.close().map(drop).map_err(failed)
    }

    fn close_day(&mut self, root: &Root, mut day: Day) -> io::Result<()> {
        self.write_rows(root, &mut day)?;
        match day.file {
            Some(file) => file.close().map(drop).map_err(failed),
            None => Ok(()),
        }
    }

    fn close(&mut self, root: &Root) -> io::Result<()> {
        std::mem::take(&mut self.days).into_iter().try_for_each(|day| self.close_day(root, day))
    }
}

fn failed(error: ParquetError) -> io::Error {
    match error {
        ParquetError::External(error) => match error.downcast::<io::Error>() {
            Ok(error) => *error,
            Err(error) => io::Error::other(error),
        },
        error => io::Error::other(error),
    }
}

/// Where the tables are.
struct Root {
    directory: PathBuf,
    host: String,
    /// Tells files of different recordings in one directory apart.
    recording: String,
}

impl Root {
    /// Makes a file of a day, which is its first one or a later one.
    fn create(
        &self,
        table: &str,
        date: &str,
        number: u64,
        columns: &[(&str, Type)],
    ) -> io::Result<SerializedFileWriter<fs::File>> {
        let directory = self.directory.join(table).join(format!("host={}", self.host)).join(format!("date={date}"));
        fs::create_dir_all(&directory)?;
        let path = directory.join(match number {
            1 => format!("{}.parquet", self.recording),
            later => format!("{}-{later}.parquet", self.recording),
        });
        let file = fs::OpenOptions::new().write(true).create_new(true).open(path)?;
        let fields: String = columns
            .iter()
            .map(|(name, kind)| match kind {
                Number => format!("OPTIONAL INT64 {name}; "),
                Time => format!("OPTIONAL INT64 {name} (TIMESTAMP(MICROS,true)); "),
                Text => format!("OPTIONAL BYTE_ARRAY {name} (UTF8); "),
            })
            .collect();
        let schema = parse_message_type(&format!("message {table} {{ {fields} }}")).map_err(failed)?;
        let compression = Compression::ZSTD(ZstdLevel::default());
        let properties = WriterProperties::builder().set_compression(compression).build();
        SerializedFileWriter::new(file, Arc::new(schema), Arc::new(properties)).map_err(failed)
    }
}

/// A cgroup's life as far as it has gone.
#[derive(Default)]
struct Phases {
    path: String,
    container: Option<Arc<Container>>,
    times: [Option<BootTime>; 5],
    created_by: Option<u32>,
    removed_by: Option<u32>,
}

/// Writes the tables below a directory.
pub(super) struct Parquet {
    root: Root,
    clock: Clock,
    inputs: Table,
    lives: Table,
    findings: Table,
    live: HashMap<(HierarchyId, CgroupId), Phases>,
    order: VecDeque<(HierarchyId, CgroupId)>,
}

impl Parquet {
    pub fn new(directory: &Path) -> Self {
        Self {
            root: Root { directory: directory.to_path_buf(), host: String::new(), recording: String::new() },
            clock: Clock { boot_ns: 0, unix_ns: 0 },
            inputs: Table::new("inputs", INPUTS),
            lives: Table::new("lives", LIFE),
            findings: Table::new("findings", FINDINGS),
            live: HashMap::new(),
            order: VecDeque::new(),
        }
    }

    fn time(&self, at: BootTime) -> Cell {
        Cell::Number(self.clock.unix_ns(at).div_euclid(1_000))
    }

    fn date(&self, at: BootTime) -> String {
        self.clock.rfc3339(at).get(..10).unwrap_or("unknown").to_owned()
    }

    fn lived(
        &mut self,
        cgroup: &Cgroup,
        change: Change,
        at: BootTime,
        container: Option<&Arc<Container>>,
        by: Option<u32>,
    ) -> io::Result<()> {
        let Some(id) = cgroup.id else { return Ok(()) };
        let key = (cgroup.hierarchy, id);
        let step = match change {
            Change::Created => 0,
            Change::Populated => 1,
            Change::Emptied => 2,
            Change::Removed => 3,
            Change::Released => 4,
            Change::Existing | Change::Renamed | Change::Frozen | Change::Thawed | Change::Attached => return Ok(()),
        };
        if change == Change::Created && self.live.contains_key(&key) {
            self.end_life(key)?;
        }
        if !self.live.contains_key(&key) {
            self.order.push_back(key);
            while self.live.len() >= LIVES {
                let Some(oldest) = self.order.pop_front() else { break };
                self.end_life(oldest)?;
            }
        }
        let life = self.live.entry(key).or_default();
        life.path = cgroup.path.to_json_text().into_owned();
        life.container = container.cloned().or(life.container.take());
        // The first population, and the last emptying.
        if step != 1 || life.times[1].is_none() {
            life.times[step] = Some(at);
        }
        match change {
            Change::Created => life.created_by = by,
            Change::Removed => life.removed_by = by,
            _ => {}
        }
        if change == Change::Released { self.end_life(key) } else { Ok(()) }
    }

    fn end_life(&mut self, key: (HierarchyId, CgroupId)) -> io::Result<()> {
        let Some(life) = self.live.remove(&key) else { return Ok(()) };
        let first = life.times.iter().flatten().min().copied().unwrap_or(BootTime(0));
        let date = self.date(first);
        let mut row = vec![
            Cell::number(key.0.0),
            Cell::number(key.1.0),
            Cell::text(life.path),
            Cell::or_null(life.container.as_ref().map(|container| Cell::text(container.id.to_json_text()))),
            Cell::or_null(life.container.as_ref().map(|container| Cell::text(container.runtime.as_str()))),
        ];
        row.extend(life.times.map(|at| Cell::or_null(at.map(|at| self.time(at)))));
        row.push(Cell::or_null(life.created_by.map(Cell::number)));
        row.push(Cell::or_null(life.removed_by.map(Cell::number)));
        row.push(Cell::or_null(life.container.as_deref().and_then(image)));
        let [created, _, emptied, removed, released] = life.times;
        row.extend([(created, removed), (emptied, released), (removed, released)].map(|(from, to)| {
            let took = from.zip(to).and_then(|(from, to)| to.0.checked_sub(from.0));
            Cell::or_null(took.map(|ns| Cell::number(ns / 1_000)))
        }));
        self.lives.push(&self.root, &date, row)
    }
}

fn image(container: &Container) -> Option<Cell> {
    container.image.as_ref().map(|image| Cell::text(image.to_json_text()))
}

/// The cells of an input by the names of the columns.
fn cells(seq: Seq, time: Cell, input: &Input) -> Vec<Cell> {
    let mut named: Vec<(&str, Cell)> = vec![("seq", Cell::number(seq.0)), ("time", time)];
    let about = |cgroup: Option<&Cgroup>, container: Option<&Arc<Container>>| {
        let mut cells = Vec::new();
        if let Some(cgroup) = cgroup {
            cells.push(("hierarchy", Cell::number(cgroup.hierarchy.0)));
            cells.push(("cgroup_id", Cell::or_null(cgroup.id.map(|id| Cell::number(id.0)))));
            cells.push(("path", Cell::text(cgroup.path.to_json_text())));
        }
        if let Some(container) = container {
            cells.push(("container", Cell::text(container.id.to_json_text())));
            cells.push(("runtime", Cell::text(container.runtime.as_str())));
        }
        cells
    };
    let by = |actor: &crate::input::Actor| {
        vec![
            ("pid", Cell::number(actor.pid.0)),
            ("comm", Cell::text(actor.comm.to_json_text())),
            ("uid", Cell::or_null(actor.uid.map(Cell::number))),
        ]
    };
    match input {
        Input::Event(event) => {
            named.push(("type", Cell::text("event")));
            named.push(("change", Cell::text(event.change.as_str())));
            named.extend(about(Some(&event.cgroup), event.container.as_ref()));
            named.extend(event.actor.iter().flat_map(by));
        }
        Input::Attempt(attempt) => {
            named.push(("type", Cell::text("attempt")));
            named.push(("operation", Cell::text(attempt.operation.as_str())));
            named.push(("syscall", Cell::text(attempt.syscall.as_str())));
            named.push(("errno", Cell::text(attempt.errno.to_string())));
            match &attempt.cgroup {
                Some(cgroup) => named.extend(about(Some(cgroup), attempt.container.as_ref())),
                None => named.push(("path", Cell::text(attempt.path.to_json_text()))),
            }
            named.extend(by(&attempt.actor));
        }
        Input::Change(written) => {
            named.push(("type", Cell::text("change")));
            named.extend(about(written.cgroup.as_ref(), written.container.as_ref()));
            named.extend(by(&written.actor));
        }
        Input::Stuck(stuck) => {
            named.push(("type", Cell::text("stuck")));
            named.push(("operation", Cell::text(stuck.operation.as_str())));
            named.push(("errno", Cell::or_null(stuck.errno.map(|errno| Cell::text(errno.to_string())))));
            named.extend(about(stuck.cgroup.as_ref(), stuck.container.as_ref()));
            named.extend(by(&stuck.actor));
        }
        Input::Process(process) => {
            let change = match process.change {
                ProcessChange::Exec => "exec",
                ProcessChange::Seen => "seen",
                ProcessChange::Exit => "exit",
            };
            named.push(("type", Cell::text("process")));
            named.push(("change", Cell::text(change)));
            named.push(("pid", Cell::number(process.pid.0)));
            named.push(("comm", Cell::text(process.comm.to_json_text())));
            named.push(("uid", Cell::or_null(process.uid.map(Cell::number))));
            match process.exit {
                Some(Exit::Code(code)) => named.push(("exit_code", Cell::number(code))),
                Some(Exit::Signal(signal)) => named.push(("exit_signal", Cell::number(signal))),
                None => {}
            }
        }
        Input::Facts(_) => named.push(("type", Cell::text("facts"))),
        Input::Lost(lost) => {
            named.push(("type", Cell::text("lost")));
            named.push(("lost", Cell::number(lost.count)));
        }
        Input::Tick(_) => named.push(("type", Cell::text("tick"))),
    }
    in_order(INPUTS, named)
}

fn in_order(columns: &[(&str, Type)], mut named: Vec<(&str, Cell)>) -> Vec<Cell> {
    let mut take = |wanted: &str| {
        named.iter_mut().find(|(name, _)| *name == wanted).map(|(_, cell)| std::mem::replace(cell, Cell::Null))
    };
    columns.iter().map(|(name, _)| Cell::or_null(take(name))).collect()
}

impl Parquet {
    fn header(&mut self, header: &Header) {
        self.clock = header.clock;
        let plain = |c: char| if c.is_ascii_alphanumeric() || ".-_".contains(c) { c } else { '_' };
        self.root.host = header.host.printable().chars().map(plain).collect();
        self.root.recording = format!("{}-{}", header.boot_id, header.started).chars().map(plain).collect();
    }

    fn input(&mut self, seq: Seq, input: &Input) -> io::Result<()> {
        let (time, date) = (self.time(input.at()), self.date(input.at()));
        self.inputs.push(&self.root, &date, cells(seq, time, input))?;
        match input {
            Input::Event(event) => {
                let by = event.actor.as_ref().map(|actor| actor.pid.0);
                self.lived(&event.cgroup, event.change, event.at, event.container.as_ref(), by)
            }
            Input::Attempt(_) | Input::Change(_) | Input::Stuck(_) | Input::Process(_) => Ok(()),
            Input::Facts(_) | Input::Lost(_) | Input::Tick(_) => Ok(()),
        }
    }

    fn finding(&mut self, finding: &Finding) -> io::Result<()> {
        let date = self.date(finding.at);
        let issues: Vec<&str> = finding.known_issues.iter().map(|issue| issue.id).collect();
        let (container, actor) = (finding.container.as_ref(), finding.actor.as_ref());
        let certainty = if finding.because.is_empty() { "certain" } else { "degraded" };
        let row = vec![
            ("attempts", Cell::number(finding.attempt_count)),
            ("id", Cell::text(finding.id.as_str())),
            ("revision", Cell::number(finding.revision)),
            ("time", self.time(finding.at)),
            ("kind", Cell::text(finding.kind.as_str())),
            ("cause", Cell::text(finding.cause.as_str())),
            ("severity", Cell::text(finding.severity.as_str())),
            ("certainty", Cell::text(certainty)),
            ("summary", Cell::text(finding.summary.as_str())),
            ("path", Cell::text(finding.cgroup.path.to_json_text())),
            ("container", Cell::or_null(container.map(|container| Cell::text(container.id.to_json_text())))),
            ("runtime", Cell::or_null(container.map(|container| Cell::text(container.runtime.as_str())))),
            ("pid", Cell::or_null(actor.map(|actor| Cell::number(actor.pid.0)))),
            ("comm", Cell::or_null(actor.map(|actor| Cell::text(actor.comm.to_json_text())))),
            (
                "exit_code",
                match finding.outcome.exit {
                    Some(Exit::Code(code)) => Cell::number(code),
                    Some(Exit::Signal(_)) | None => Cell::Null,
                },
            ),
            ("image", Cell::or_null(container.and_then(|container| image(container)))),
            ("known_issues", if issues.is_empty() { Cell::Null } else { Cell::text(issues.join(" ")) }),
        ];
        self.findings.push(&self.root, &date, in_order(FINDINGS, row))
    }

    fn end(&mut self) -> io::Result<()> {
        let mut left: Vec<_> = self.live.keys().copied().collect();
        left.sort_unstable();
        left.into_iter().try_for_each(|key| self.end_life(key))?;
        self.inputs.close(&self.root)?;
        self.lives.close(&self.root)?;
        self.findings.close(&self.root)
    }
}

impl Output for Parquet {
    fn line(&mut self, line: &Line<'_>) -> io::Result<()> {
        match line {
            Line::Header(header) => {
                self.header(header);
                Ok(())
            }
            Line::Input(seq, input) => self.input(*seq, input),
            Line::Finding(finding) => self.finding(finding),
            Line::End(..) => self.end(),
            Line::Known(..) | Line::Span(_) | Line::Passed(_) => Ok(()),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
