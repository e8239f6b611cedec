//! What a bundle's annotations say of a container: each engine writes its own. Pure.
//!
//! Anybody who may start a container may add annotations to it, those of another engine too. So only those are listened
//! to that the engine at hand writes itself.

use std::collections::HashMap;

use crate::engine::Engine;
use crate::name::Name;

/// By key.
pub type Annotations = HashMap<String, String>;

/// What is said of a container.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Said {
    /// The engine, where the annotations tell more than what is known.
    pub engine: Option<&'static str>,
    /// A human's name for it.
    pub name: Option<Name>,
    /// Its image.
    pub image: Option<Name>,
    /// Its pod.
    pub pod: Option<Name>,
    /// The namespace of the pod, or of containerd.
    pub namespace: Option<Name>,
}

/// Which keys an engine writes, those that say most first.
struct Dialect {
    engine: Option<&'static str>,
    is_spoken: fn(&Annotations) -> bool,
    name: &'static [&'static str],
    image: &'static [&'static str],
    pod: &'static [&'static str],
    namespace: &'static [&'static str],
}

/// Who wrote the bundle, of containers/storage's engines.
const MANAGER: &str = "io.container.manager";

fn is_managed_by(annotations: &Annotations, manager: &str) -> bool {
    annotations.get(MANAGER).is_some_and(|is| is == manager)
}

fn has(annotations: &Annotations, prefix: &str) -> bool {
    annotations.keys().any(|key| key.starts_with(prefix))
}

/// The registry. The first that is spoken is listened to.
const DIALECTS: &[Dialect] = &[
    Dialect {
        engine: Some("podman"),
        is_spoken: |all| is_managed_by(all, "libpod") || !all.contains_key(MANAGER) && has(all, "io.podman."),
        name: &[],
        image: &[],
        // Its pods have no name on disk; this is their id.
        pod: &["io.kubernetes.cri-o.SandboxID"],
        namespace: &[],
    },
    Dialect {
        engine: Some("cri-o"),
        is_spoken: |all| is_managed_by(all, "cri-o") || !all.contains_key(MANAGER) && has(all, "io.kubernetes.cri-o."),
        name: &["io.kubernetes.container.name"],
        // The first is empty for an image without a name.
        image: &["io.kubernetes.cri-o.ImageName", "io.kubernetes.cri-o.Image"],
        pod: &["io.kubernetes.pod.name", "io.kubernetes.cri-o.KubeName"],
        namespace: &["io.kubernetes.pod.namespace", "io.kubernetes.cri-o.Namespace"],
    },
    Dialect {
        // Containerd's CRI plugin.
        engine: None,
        is_spoken: |all| has(all, "io.kubernetes.cri."),
        name: &["io.kubernetes.cri.container-name"],
        image: &["io.kubernetes.cri.image-name"],
        pod: &["io.kubernetes.cri.sandbox-name"],
        namespace: &["io.kubernetes.cri.sandbox-namespace"],
    },
    Dialect {
        engine: Some("nerdctl"),
        is_spoken: |all| has(all, "nerdctl/"),
        name: &["nerdctl/name"],
        image: &[],
        pod: &[],
        namespace: &["nerdctl/namespace"],
    },
    Dialect {
        // The kubelet's labels, and the image format's own annotations.
        engine: None,
        is_spoken: |_| true,
        name: &["io.kubernetes.container.name"],
        image: &["org.opencontainers.image.ref.name"],
        pod: &["io.kubernetes.pod.name"],
        namespace: &["io.kubernetes.pod.namespace"],
    },
];

/// What annotations say, of a container of that engine.
pub fn said(annotations: &Annotations, engine: Option<&Engine>) -> Said {
    // These keep names elsewhere, or nowhere.
    if engine.is_some_and(|engine| matches!(engine.name, "docker" | "buildkit" | "buildah")) {
        return Said::default();
    }
    let Some(dialect) = DIALECTS.iter().find(|dialect| (dialect.is_spoken)(annotations)) else {
        return Said::default();
    };
    let find = |keys: &[&str]| {
        let mut said = keys.iter().filter_map(|key| annotations.get(*key));
        said.find(|value| !value.is_empty()).map(|value| Name::from(value.as_str()))
    };
    Said {
        engine: dialect.engine,
        name: find(dialect.name),
        image: find(dialect.image),
        pod: find(dialect.pod),
        namespace: find(dialect.namespace),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Engine, name, image, pod and namespace.
    fn check(engine: Option<&'static str>, pairs: &[(&str, &str)], told: [&str; 5]) {
        let annotations = pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        let engine = engine.map(|name| Engine { name, namespace: None });
        let said = said(&annotations, engine.as_ref());
        let [name, image, pod, namespace] = [said.name, said.image, said.pod, said.namespace]
            .map(|name| name.map_or("-".to_owned(), |name| name.to_string()));
        assert_eq!([said.engine.unwrap_or("-"), &name, &image, &pod, &namespace], told, "{pairs:?}");
    }

    #[test]
    fn each_engine_is_read_as_it_writes() {
        check(
            Some("containerd"),
            &[
                ("io.kubernetes.cri.container-type", "container"),
                ("io.kubernetes.cri.container-name", "web"),
                ("io.kubernetes.cri.image-name", "docker.io/library/nginx:1"),
                ("io.kubernetes.cri.sandbox-name", "shop-7d9"),
                ("io.kubernetes.cri.sandbox-namespace", "prod"),
            ],
            ["-", "web", "docker.io/library/nginx:1", "shop-7d9", "prod"],
        );
        let sandbox = [
            ("io.kubernetes.cri.container-type", "sandbox"),
            ("io.kubernetes.cri.sandbox-name", "shop-7d9"),
            ("io.kubernetes.cri.sandbox-namespace", "prod"),
        ];
        check(Some("containerd"), &sandbox, ["-", "-", "-", "shop-7d9", "prod"]);
        let crio = [
            (MANAGER, "cri-o"),
            ("io.kubernetes.container.name", "web"),
            ("io.kubernetes.cri-o.Name", "k8s_web_shop-7d9_prod_u_0"),
            ("io.kubernetes.cri-o.ImageName", ""),
            ("io.kubernetes.cri-o.Image", "quay.io/shop/web:1"),
            ("io.kubernetes.pod.name", "shop-7d9"),
            ("io.kubernetes.pod.namespace", "prod"),
        ];
        check(Some("podman"), &crio, ["cri-o", "web", "quay.io/shop/web:1", "shop-7d9", "prod"]);
        let podman = [
            (MANAGER, "libpod"),
            ("io.kubernetes.cri-o.ContainerType", "container"),
            ("io.kubernetes.cri-o.SandboxID", "3b8d"),
        ];
        check(Some("podman"), &podman, ["podman", "-", "-", "3b8d", "-"]);
        let nerdctl = [("nerdctl/name", "web"), ("nerdctl/namespace", "default")];
        check(Some("containerd"), &nerdctl, ["nerdctl", "web", "-", "-", "default"]);
        let image = [("org.opencontainers.image.ref.name", "alpine:3")];
        check(None, &image, ["-", "-", "alpine:3", "-", "-"]);
        check(None, &[(MANAGER, "else")], ["-"; 5]);
        check(None, &[], ["-"; 5]);
    }

    #[test]
    fn what_a_user_adds_in_another_engines_words_is_not_heard() {
        let added = [
            ("nerdctl/name", "evil"),
            ("io.kubernetes.cri.container-type", "container"),
            ("io.kubernetes.cri.container-name", "evil"),
            ("io.kubernetes.container.name", "evil"),
            ("io.kubernetes.pod.name", "evil"),
            ("org.opencontainers.image.ref.name", "evil"),
        ];
        for engine in ["docker", "buildkit", "buildah"] {
            check(Some(engine), &added, ["-"; 5]);
        }
        let podman: Vec<_> = added.into_iter().chain([(MANAGER, "libpod")]).collect();
        check(Some("podman"), &podman, ["podman", "-", "-", "-", "-"]);
        let own = [
            (MANAGER, "cri-o"),
            ("io.kubernetes.cri-o.KubeName", "shop"),
            ("io.kubernetes.cri.sandbox-name", "evil"),
            ("nerdctl/namespace", "evil"),
        ];
        check(None, &own, ["cri-o", "-", "-", "shop", "-"]);
    }
}
