//! The Helm chart and the plain manifests: taken by Helm's own library, valid by the schemas of Kubernetes and of
//! Prometheus' operator, and the same objects.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use super::chart::{CHART, Rendered, render};
use super::schema::python;
use super::{DASHBOARD, RULES, UNIT, read, root};

const PLAIN: &str = "deploy/kubernetes";
/// Reads a file of YAML.
const YAML: &str = "import json, sys, yaml; print(json.dumps(yaml.safe_load(open(sys.argv[1]))))";

/// What Helm's linter has to say, beyond that there is no picture.
const LINT: &str = "
import helm_python as helm, json, sys
report = helm.lint(sys.argv[1], json.loads(sys.argv[2]), strict=True, namespace='cgtrace', kube_version=sys.argv[3])
said = [message['error'] for message in report['messages']] + report['errors']
print(json.dumps({'charts': report['total_charts_linted'], 'said': [it for it in said if it != 'icon is recommended']}))
";

/// Holds objects against the schemas of some versions of Kubernetes, without any key that is not known.
const KUBERNETES: &str = "
import functools, json, sys
import kubernetes_validate
from kubernetes_validate import utils
# Each version's definitions are large, and would be read for every object.
utils.schema_contents = functools.cache(utils.schema_contents)
for version in json.loads(sys.argv[2]):
    for thing in json.loads(sys.argv[1]):
        if kubernetes_validate.validate(thing, version, strict=True) != version:
            sys.exit(f'no schema for {version}')
";
/// Holds objects against the models of Prometheus' operator, which must give back every key.
const OPERATOR: &str = "
import json, sys
from cloudcoil.models.prometheus_operator import v1

def kept(given, back, path):
    if isinstance(given, dict):
        for key, value in given.items():
            if key not in back:
                sys.exit(f'{path}.{key} is not known')
            kept(value, back[key], f'{path}.{key}')
    elif isinstance(given, list):
        for at, (one, other) in enumerate(zip(given, back, strict=True)):
            kept(one, other, f'{path}[{at}]')

for thing in json.loads(sys.argv[1]):
    model = getattr(v1, thing['kind']).model_validate(thing)
    kept(thing, model.model_dump(mode='json', by_alias=True, exclude_none=True), thing['kind'])
";
/// The first one is the oldest that the chart takes.
const VERSIONS: [&str; 8] = ["1.30", "1.31", "1.32", "1.33", "1.34", "1.35", "1.36", "1.37"];

/// Everything that can be switched on.
fn everything() -> Value {
    json!({
        "tls": { "secret": "cgtrace-tls", "serverName": "cgtrace.example" },
        "record": { "enabled": true },
        "extraArgs": ["--history=16M"],
        "imagePullSecrets": [{ "name": "registry" }],
        "podAnnotations": { "team": "platform" },
        "podLabels": { "team": "platform" },
        "seccompProfile": { "type": "Localhost", "localhostProfile": "cgtrace.json" },
        "podMonitor": { "enabled": true, "labels": { "release": "prometheus" } },
        "prometheusRule": { "enabled": true, "labels": { "release": "prometheus" } },
        "dashboard": { "enabled": true, "annotations": { "folder": "nodes" } },
    })
}

/// What is rendered for the plain manifests.
fn monitored() -> Value {
    json!({
        "podMonitor": { "enabled": true },
        "prometheusRule": { "enabled": true },
        "dashboard": { "enabled": true },
    })
}

fn rendered(values: &Value) -> Rendered {
    render(values).unwrap_or_else(|refused| panic!("{values}: {refused}"))
}

fn container(rendered: &Rendered) -> Value {
    let spec = &rendered.object("DaemonSet")["spec"]["template"]["spec"];
    let [container] = spec["containers"].as_array().unwrap().as_slice() else { panic!("one container") };
    container.clone()
}

fn words(list: &Value) -> Vec<&str> {
    list.as_array().unwrap_or_else(|| panic!("no list: {list}")).iter().map(|word| word.as_str().unwrap()).collect()
}

#[test]
fn helm_has_nothing_against_the_chart() {
    for values in [json!({}), everything()] {
        for version in [VERSIONS[0], VERSIONS[VERSIONS.len() - 1]] {
            let chart = root().join(CHART).into_os_string();
            let said = python(LINT, &[chart, values.to_string().into(), format!("v{version}.0").into()]);
            let said: Value = serde_json::from_slice(&said).unwrap();
            assert_eq!(said, json!({ "charts": 1, "said": [] }), "{version}: {values}");
        }
    }
}

/// The objects with some values that are Prometheus' operator's, or that are not.
fn objects(values: &Value, operators: bool) -> Vec<Value> {
    let is = |object: &Value| (object["apiVersion"] == "monitoring.coreos.com/v1") == operators;
    rendered(values).objects.into_iter().filter(is).collect()
}

#[test]
fn kubernetes_takes_every_object() {
    let all = [objects(&json!({}), false), objects(&everything(), false)].concat();
    assert_eq!(all.len(), 5);
    python(KUBERNETES, &[Value::from(all).to_string(), json!(VERSIONS).to_string()]);
}

#[test]
fn prometheus_operator_takes_what_is_for_it() {
    assert!(objects(&json!({}), true).is_empty());
    let all = objects(&everything(), true);
    assert_eq!(all.len(), 2);
    python(OPERATOR, &[Value::from(all).to_string()]);
}

#[test]
fn values_that_would_be_ignored_or_show_command_lines_are_refused() {
    let refused = |values: Value, words: &str| {
        let said = render(&values).err().unwrap_or_else(|| panic!("{values} is taken"));
        assert!(said.contains(words), "{values}: {said}");
    };
    refused(json!({ "token": { "secret": "" } }), "set token.secret, tls.secret, or insecure=true");
    refused(json!({ "tokens": {} }), "additional properties 'tokens' not allowed");
    refused(json!({ "extraArgs": ["history=1M"] }), "does not match pattern");
    refused(json!({ "seccompProfile": { "type": "Default" } }), "value must be one of");
    let open = rendered(&json!({ "token": { "secret": "" }, "insecure": true }));
    assert!(words(&container(&open)["args"]).contains(&"--insecure"));
}

#[test]
fn the_agent_takes_what_the_chart_tells_it() {
    let one = |values: &Value| {
        let container = container(&rendered(values));
        assert_eq!(words(&container["command"]), ["/usr/bin/cgtrace"]);
        let typed: Vec<String> = ["cgtrace"].into_iter().chain(words(&container["args"])).map(str::to_owned).collect();
        let matches = cgtrace::cli::definition().try_get_matches_from(typed).unwrap_or_else(|error| panic!("{error}"));
        let (command, _) = matches.subcommand().unwrap();
        assert_eq!(command, "serve");
        let definition = cgtrace::cli::definition();
        let serve = definition.find_subcommand("serve").unwrap();
        let variables: BTreeSet<&str> =
            serve.get_arguments().filter_map(clap::Arg::get_env).filter_map(|name| name.to_str()).collect();
        for variable in container["env"].as_array().unwrap() {
            assert!(variables.contains(variable["name"].as_str().unwrap()), "{variable} does nothing");
        }
    };
    one(&json!({}));
    one(&everything());
}

#[test]
fn the_chart_gives_the_agent_what_the_unit_gives_it_and_no_more() {
    let container = container(&rendered(&json!({})));
    let security = &container["securityContext"];
    assert_eq!(security["capabilities"]["drop"], json!(["ALL"]));
    let unit = read(UNIT);
    let line = unit.lines().find_map(|line| line.strip_prefix("CapabilityBoundingSet=")).unwrap();
    let units: BTreeSet<&str> = line.split(' ').map(|name| name.strip_prefix("CAP_").unwrap()).collect();
    let charts: BTreeSet<&str> = words(&security["capabilities"]["add"]).into_iter().collect();
    assert_eq!(charts, units);
    assert_eq!(
        [&security["privileged"], &security["allowPrivilegeEscalation"], &security["readOnlyRootFilesystem"]],
        [&json!(false), &json!(false), &json!(true)]
    );
    // Each has its reason, and the kernel's call, beside it.
    let text = read(&format!("{CHART}/templates/daemonset.yaml"));
    for name in charts {
        let before = text.lines().zip(text.lines().skip(1)).find(|(_, line)| line.trim() == format!("- {name}"));
        let (reason, _) = before.unwrap_or_else(|| panic!("no line for {name}"));
        assert!(reason.trim().starts_with("# ") && reason.contains("(2)"), "{name}");
    }
}

#[test]
fn nothing_of_the_node_is_mounted_but_its_cgroups_and_that_read_only() {
    let rendered = rendered(&json!({}));
    let spec = &rendered.object("DaemonSet")["spec"]["template"]["spec"];
    let volumes = spec["volumes"].as_array().unwrap();
    let of_node: Vec<&Value> = volumes.iter().filter(|volume| volume.get("hostPath").is_some()).collect();
    let [cgroup] = of_node.as_slice() else { panic!("{of_node:?}") };
    assert_eq!(cgroup["hostPath"], json!({ "path": "/sys/fs/cgroup", "type": "Directory" }));
    for mount in container(&rendered)["volumeMounts"].as_array().unwrap() {
        assert_eq!(mount["readOnly"], true, "{mount}");
    }
}

#[test]
fn what_is_watched_is_what_is_beside_the_chart() {
    let rendered = rendered(&everything());
    let rules: Value = serde_json::from_slice(&python(YAML, &[root().join(RULES)])).unwrap();
    assert_eq!(rendered.object("PrometheusRule")["spec"], rules);
    let dashboard: Value = serde_json::from_str(&read(DASHBOARD)).unwrap();
    let text = rendered.object("ConfigMap")["data"]["cgtrace.json"].as_str().unwrap();
    assert_eq!(serde_json::from_str::<Value>(text).unwrap(), dashboard);
    // The rules find agents by their job.
    let monitor = rendered.object("PodMonitor");
    let label = monitor["spec"]["jobLabel"].as_str().unwrap();
    let daemon_set = rendered.object("DaemonSet");
    assert_eq!(daemon_set["spec"]["template"]["metadata"]["labels"][label], "cgtrace");
    assert_eq!(monitor["spec"]["selector"], daemon_set["spec"]["selector"]);
    assert_eq!(monitor["spec"]["podMetricsEndpoints"][0]["port"], container(&rendered)["ports"][0]["name"]);
}

#[test]
fn the_plain_manifests_are_what_the_chart_renders() {
    let default = rendered(&json!({})).texts;
    for (name, text) in rendered(&monitored()).texts {
        // What is there with default values is the same with the rest.
        let place = match default.get(&name) {
            Some(same) => {
                assert_eq!(*same, text, "{name}");
                "base"
            }
            None => "monitoring",
        };
        let path = root().join(PLAIN).join(place).join(&name);
        let text = format!("# Rendered of {CHART}: change it there.\n{}\n", text.trim());
        if std::env::var_os("CGTRACE_BLESS").is_some() {
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, &text).unwrap();
        }
        assert!(
            fs::read_to_string(&path).is_ok_and(|plain| plain == text),
            "{} is stale: CGTRACE_BLESS=1 cargo test -p cgtrace --test deploy plain_manifests",
            path.display()
        );
    }
    for place in ["base", "monitoring"] {
        has_all(&root().join(PLAIN).join(place));
    }
}

/// A kustomization names every file beside it, and no other.
fn has_all(directory: &Path) {
    let file = directory.join("kustomization.yaml");
    let kustomization: Value = serde_json::from_slice(&python(YAML, &[&file])).unwrap();
    assert_eq!(kustomization["kind"], "Kustomization");
    let named: BTreeSet<String> = words(&kustomization["resources"]).into_iter().map(str::to_owned).collect();
    let files = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut there: BTreeSet<String> = files.filter(|name| name != "kustomization.yaml").collect();
    there.extend(named.iter().filter(|name| name.starts_with("../")).cloned());
    assert_eq!(named, there, "{}", directory.display());
    assert!(named.iter().all(|name| directory.join(name).exists()), "{named:?}");
}

#[test]
fn the_chart_is_of_this_version() {
    let chart: Value = serde_json::from_slice(&python(YAML, &[root().join(CHART).join("Chart.yaml")])).unwrap();
    assert_eq!((&chart["version"], &chart["appVersion"]), (&cgtrace_version(), &cgtrace_version()));
    let oldest = format!(">={}.0-0", VERSIONS[0]);
    assert_eq!(chart["kubeVersion"], oldest);
}

fn cgtrace_version() -> Value {
    env!("CARGO_PKG_VERSION").into()
}
