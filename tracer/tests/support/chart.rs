//! The Helm chart, rendered by Helm's own library.
#![allow(dead_code, reason = "each test crate uses its own part")]

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::Value;

use crate::schema::python;

/// Where it is, from the root of the sources on.
pub const CHART: &str = "deploy/helm/cgtrace";

/// Renders the chart with some values. Prints the text of each file with objects, or what was said against the values.
const RENDER: &str = r"
import helm_python as helm, json, sys, yaml
with helm.Chart.load(sys.argv[1]) as chart:
    try:
        files = chart.render(json.loads(sys.argv[2]), name='cgtrace', namespace='cgtrace')
    except helm.HelmError as error:
        print(json.dumps({'refused': str(error)}))
        sys.exit()
manifests = {path.rsplit('/', 1)[1]: text for path, text in files.items() if path.endswith('.yaml') and text.strip()}
print(json.dumps({'texts': manifests, 'objects': [yaml.safe_load(text) for text in manifests.values()]}))
";

/// What the chart becomes.
pub struct Rendered {
    /// The text of each file that has an object, by its name.
    pub texts: BTreeMap<String, String>,
    /// The objects.
    pub objects: Vec<Value>,
}

impl Rendered {
    /// The only object of a kind.
    pub fn object(&self, kind: &str) -> &Value {
        let mut found = self.objects.iter().filter(|object| object["kind"] == kind);
        let object = found.next().unwrap_or_else(|| panic!("no {kind}"));
        assert!(found.next().is_none(), "two of the kind {kind}");
        object
    }
}

/// Renders it as the release `cgtrace` in the namespace `cgtrace`.
///
/// # Errors
/// What Helm says, when it does not take the values.
pub fn render(values: &Value) -> Result<Rendered, String> {
    let chart = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(CHART);
    let said = python(RENDER, &[chart.into_os_string(), values.to_string().into()]);
    let mut said: Value = serde_json::from_slice(&said).unwrap();
    match said["refused"].as_str() {
        Some(refused) => Err(refused.to_owned()),
        None => Ok(Rendered {
            texts: serde_json::from_value(said["texts"].take()).unwrap(),
            objects: serde_json::from_value(said["objects"].take()).unwrap(),
        }),
    }
}
