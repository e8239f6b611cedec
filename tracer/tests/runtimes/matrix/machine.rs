//! Lives under systemd, as the first process of a machine whose cgroups are a part of the host's.

use super::Layout::V2;
use super::{Known, Life, Told};

/// Services of a slice come and go, one ends by itself and one is stopped.
const SERVICES: &str = r#"boot
unit() {
    printf '[Service]\nType=exec\nSlice=%s\nExecStart=%s\n' "$id.slice" "$2" > "$place/$1.service"
    inside cp "/life/$1.service" /run/systemd/system
}
unit "$id-ends" "/bin/sleep 0.1"; unit "$id-stays" "/bin/sleep 600"
inside systemctl daemon-reload; inside systemctl start "$id-ends" "$id-stays"
while inside systemctl --quiet is-active "$id-ends"; do sleep 0.05; done
inside systemctl stop "$id-stays" "$id.slice"; halt"#;
const NOBODYS: Known = Known { runtime: None, maker: "", name: false, image: false };

/// systemd makes and removes the scope that runc asks for.
const DRIVEN: Known = Known { runtime: Some("runc"), maker: "", name: false, image: false };
const WHOLE: &str = r#"boot; driven create --bundle /life/bundle "$id"; driven start "$id"
until driven state "$id" | grep -q '"stopped"'; do sleep 0.01; done; driven delete "$id"; halt"#;
const RUN: &str = r#"boot; driven run --bundle /life/bundle "$id"; halt"#;
const FORCED: &str = r#"boot; driven create --bundle /life/bundle "$id"; driven delete --force "$id"; halt"#;
const STRANGER: &str = r#"boot; driven create --bundle /life/bundle "$id"; stranger $(cgroups)
driven delete --force "$id" || true; halt"#;
/// The scope goes while its container lives.
const VANISHES: &str = r#"boot; driven create --bundle /life/bundle "$id"; inside systemctl stop "runc-$id.scope"
driven delete --force "$id"; halt"#;
/// Nobody deletes it before its machine halts.
const HALTED: &str = r#"boot; driven create --bundle /life/bundle "$id"; halt"#;

/// systemd removes the cgroups of its own units twice.
const TWICE: Told = Told::new("benign", "duplicate-teardown", "removed-by-self").of_no_container().by_chance();
/// It removes what is empty, and runc may be faster.
const FIRST: Told = Told::new("benign", "duplicate-teardown", "removed-by-other");
const EITHER: &[Told] = &[TWICE, FIRST.by_chance()];
const BUSY: Told = Told::new("fault", "busy-teardown", "live-processes").says(", which was in use: sleep[");

pub const LIVES: &[Life] = &[
    Life::new("systemd", V2, "services come and go", SERVICES).container(NOBODYS).told(&[TWICE]),
    Life::new("runc", V2, "systemd's driver: create, start, delete", WHOLE).container(DRIVEN).told(EITHER),
    Life::new("runc", V2, "systemd's driver: run", RUN).container(DRIVEN).told(EITHER),
    Life::new("runc", V2, "systemd's driver: deleted while it runs", FORCED).container(DRIVEN).told(EITHER),
    Life::new("runc", V2, "systemd's driver: a stranger in its scope at delete", STRANGER)
        .container(DRIVEN)
        .told(&[TWICE, BUSY])
        .leaves(),
    Life::new("runc", V2, "systemd's driver: the scope is stopped first", VANISHES)
        .container(DRIVEN)
        .told(&[TWICE, FIRST]),
    Life::new("runc", V2, "systemd's driver: its machine halts first", HALTED).container(DRIVEN).told(&[TWICE]),
];
