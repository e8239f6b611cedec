//! What is said of the containers that a process stays with which was there before tracing began: a user's conmon, the
//! shim of a containerd in a container of its own.

use std::path::Path;

use super::{Reader, Said, machines, read_config, standing, state};
use crate::engine;
use crate::input::{ContainerFacts, Pid, Process, Unread};
use crate::name::Name;
use crate::process;
use crate::rights::Rights;
use crate::root::{Refused, Root};
use crate::watcher::Watched;

/// Names the pod of containerd's CRI plugin that a container is in.
const SANDBOX: &str = "io.kubernetes.cri.sandbox-id";
/// Containers of one pod that are told of at most, and bundles that are looked at for them.
const POD: usize = 16;
const BESIDE: usize = 1_024;
/// What is told of them has to fit in one answer, in bytes before they are written as JSON.
const TOLD: usize = 16 << 10;

impl Reader {
    /// What is said of the containers that a process stays with which was there before tracing began, as that sees it
    /// and with its user's rights.
    pub fn read_watched(&mut self, process: &Process) -> Said {
        let Some(watched) = process::argv(process.pid).and_then(|argv| Watched::by(&argv)) else {
            return Said::default();
        };
        let Some(root) = Root::of(process.pid, Rights::of(process)) else { return Said::default() };
        let facts = match &watched {
            Watched::Machine(machine) => {
                machines::read(&root, machine, &state::Surroundings::of(process.pid)).into_iter().collect()
            }
            Watched::Conmon { id, name, bundle } => {
                let bundle = bundle.as_ref().map(Name::to_path);
                let facts = bundle.and_then(|bundle| self.of_bundle(&root, &bundle, id));
                let known = |mut facts: ContainerFacts| {
                    facts.add(name.clone(), None);
                    facts
                };
                facts.map(known).into_iter().collect()
            }
            Watched::Shim { id } => self.of_shim(&root, process.pid, id),
        };
        let told = |mut facts: ContainerFacts| {
            (facts.pid, facts.uid) = (Some(process.pid), process.uid);
            facts.leave_out_long();
            facts
        };
        let unread = |file: Refused| Unread {
            id: watched.id().clone(),
            pid: Some(process.pid),
            path: Some(file.path),
            reason: file.reason,
        };
        Said {
            facts: facts.into_iter().map(told).collect(),
            unread: root.take_refused().into_iter().map(unread).collect(),
        }
    }

    fn of_bundle(&mut self, root: &Root, bundle: &Path, id: &Name) -> Option<ContainerFacts> {
        let (mut facts, config) = read_config(root, bundle, id, "runc")?;
        let engine = engine::of_bundle("runc", bundle);
        facts.runtime = engine.as_ref().map_or("runc", |engine| engine.name).to_owned();
        facts.annotate(&config.annotations, engine);
        let said = self.lists.of_bundle(root, bundle, id).unwrap_or_default();
        facts.add(said.name, said.image);
        Some(facts)
    }

    /// The container that a shim is called by, and those of its pod.
    fn of_shim(&mut self, root: &Root, shim: Pid, first: &Name) -> Vec<ContainerFacts> {
        let Some(tasks) = standing::tasks(shim) else { return Vec::new() };
        let mut told: Vec<ContainerFacts> =
            self.of_bundle(root, &tasks.join(first.to_path()), first).into_iter().collect();
        for id in root.names(&tasks).into_iter().take(BESIDE).filter(|id| id != first) {
            let names = |facts: &ContainerFacts| {
                let names = [&facts.name, &facts.image, &facts.pod, &facts.namespace, &facts.cgroups_path];
                names.into_iter().flatten().map(|name| name.as_bytes().len()).sum::<usize>()
            };
            if told.len() >= POD || told.iter().map(names).sum::<usize>() > TOLD {
                break;
            }
            let bundle = tasks.join(id.to_path());
            let of_pod = |(_, config): &(ContainerFacts, super::Config)| {
                config.annotations.get(SANDBOX).is_some_and(|sandbox| first == sandbox.as_str())
            };
            if read_config(root, &bundle, &id, "runc").as_ref().is_some_and(of_pod) {
                told.extend(self.of_bundle(root, &bundle, &id));
            }
        }
        told
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::CommandExt;
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn a_shim_tells_all_containers_of_its_pod_and_no_others() {
        let directory = tempfile::tempdir().expect("a directory");
        let tasks = directory.path().join("io.containerd.runtime.v2.task/k8s.io");
        let write = |id: &str, sandbox: &str, name: &str| {
            std::fs::create_dir_all(tasks.join(id)).expect("made");
            let key = |key: &str, value: &str| format!(r#""io.kubernetes.cri.{key}":"{value}""#);
            let all = [
                key("container-type", "container"),
                key("sandbox-id", sandbox),
                key("container-name", name),
                key("sandbox-namespace", "prod"),
            ];
            let config = format!(r#"{{"annotations":{{{}}}}}"#, all.join(","));
            std::fs::write(tasks.join(id).join("config.json"), config).expect("written");
        };
        for (id, sandbox, name) in [("s1", "s1", ""), ("a", "s1", "web"), ("b", "s1", "db"), ("c", "s2", "other")] {
            write(id, sandbox, name);
        }
        let mut shim = Command::new("sh");
        shim.arg0("/usr/bin/containerd-shim-runc-v2").args([
            "-c",
            "sleep 60 & wait",
            "-namespace",
            "k8s.io",
            "-id",
            "s1",
        ]);
        let mut shim = shim.current_dir(tasks.join("s1")).stdin(Stdio::piped()).spawn().expect("begun");
        // It is another program for a moment yet.
        let begun = std::time::Instant::now();
        let told = loop {
            let process = process::identity(Pid(shim.id())).expect("it is alive");
            let said = Reader::default().read_watched(&process);
            if !said.facts.is_empty() || begun.elapsed() > std::time::Duration::from_secs(20) {
                break said;
            }
        };
        shim.kill().and_then(|()| shim.wait()).expect("ended");
        let mut names: Vec<(String, String)> = told
            .facts
            .iter()
            .map(|facts| (facts.id.to_string(), facts.name.as_ref().map(Name::to_string).unwrap_or_default()))
            .collect();
        names.sort();
        let told_of = |id: &str, name: &str| (id.to_owned(), name.to_owned());
        assert_eq!(names, [told_of("a", "web"), told_of("b", "db"), told_of("s1", "")]);
        let is_whole = |facts: &ContainerFacts| {
            facts.engine.as_deref() == Some("containerd")
                && facts.namespace == Some("prod".into())
                && facts.uid == Some(0)
        };
        assert!(told.facts.iter().all(is_whole), "{:?}", told.facts);
    }
}
