use super::*;
use crate::input::HierarchyId;

const NOW: i64 = 1_000_000_000_000;
const ID: &str = "a1b2c3d4e5f60718293a4b5c6d7e8f90a1b2c3d4e5f60718293a4b5c6d7e8f90";
const CLOCK: Clock = Clock { boot_ns: 0, unix_ns: 0 };

/// A hierarchy of these paths, each after its parent, with what is said of each besides: old, root's, empty.
fn view(version: u8, cgroups: &[(&str, Details)]) -> View {
    let hierarchy = Hierarchy {
        id: HierarchyId(u32::from(version == 1)),
        version,
        controllers: if version == 1 { vec!["cpu".to_owned()] } else { Vec::new() },
        mount: Some("/sys/fs/cgroup".into()),
        device: None,
    };
    let paths: Vec<&str> = cgroups.iter().map(|(path, _)| *path).collect();
    let seen = cgroups.iter().enumerate().map(|(number, (path, details))| {
        let (parent, name) = path.rsplit_once('/').expect("a path");
        let parent = if parent.is_empty() { "/" } else { parent };
        let parent = (*path != "/").then(|| paths.iter().position(|path| *path == parent).expect("its parent"));
        Seen { parent, name: name.into(), id: CgroupId(number as u64 + 1), details: details.clone() }
    });
    View {
        hierarchy,
        root: "/".into(),
        is_whole: Some(true),
        nsdelegate: false,
        cgroups: seen.collect(),
        dying: None,
        unreadable: 0,
        left_out: 0,
    }
}

fn empty() -> Details {
    Details { populated: Some(false), processes: Some(0), uid: Some(0), there_since: Some(0), ..Details::default() }
}

fn busy(processes: u64) -> Details {
    Details { populated: Some(true), processes: Some(processes), ..empty() }
}

fn records(names: &[&str]) -> Records {
    Records { names: names.iter().map(|name| Name::from(*name)).collect(), whole: true, ..Records::default() }
}

fn tree(views: Vec<View>, records: &Records) -> Tree {
    Tree::new(views, records, CLOCK, BootTime(NOW as u64))
}

/// What is wrong, as `KIND PATH`.
fn wrong(tree: &Tree) -> Vec<String> {
    let each = |at| tree.wrong(at).iter().map(move |wrong| format!("{} {}", wrong.kind.as_str(), tree.path(at)));
    tree.all().flat_map(each).collect()
}

fn list(names: &[&str]) -> Option<Controllers> {
    Some(names.iter().map(|name| (*name).to_owned()).collect())
}

#[test]
fn a_container_that_nothing_names_may_be_leaked() {
    let docker = format!("/docker/{ID}");
    let of = |details: Details, records: &Records| {
        let below = format!("{docker}/init");
        let view = view(2, &[("/", busy(3)), ("/docker", empty()), (&docker, details.clone()), (&below, details)]);
        wrong(&tree(vec![view], records))
    };
    assert_eq!(
        of(empty(), &records(&["other"])),
        [format!("leaked-cgroup {docker}")],
        "its own, and not what is below it"
    );
    let none: [&str; 0] = [];
    assert_eq!(of(busy(1), &records(&[])), none, "it runs");
    assert_eq!(of(empty(), &records(&[ID])), none, "stopped and kept");
    assert_eq!(of(empty(), &Records { whole: false, ..records(&[]) }), none, "not all records could be read");
    assert_eq!(of(Details { populated: None, processes: None, ..empty() }, &records(&[])), none, "it may run");
    assert_eq!(of(Details { uid: Some(1000), ..empty() }, &records(&[])), none, "its user keeps records elsewhere");
    assert_eq!(of(Details { there_since: Some(NOW - 5_000_000_000), ..empty() }, &records(&[])), none, "being made");
    assert_eq!(of(Details { there_since: None, ..empty() }, &records(&[])), none, "perhaps being made");
}

#[test]
fn what_is_not_a_containers_or_not_known_by_its_name_is_never_leaked() {
    let pod = "kubepods-pod2f3a9c1e_7b54_4d0a_9c55_0d1f6e8b7a21.slice";
    for path in [
        "/idle.slice".to_owned(),
        "/init.scope".to_owned(),
        format!("/{pod}"),
        "/.lxc".to_owned(),
        "/lxc.monitor.web".to_owned(),
        "/buildah-buildah123".to_owned(),
        "/web".to_owned(),
    ] {
        let view = view(2, &[("/", busy(3)), (&path, empty())]);
        assert!(wrong(&tree(vec![view], &records(&[]))).is_empty(), "{path}");
    }
    // A unit of systemd's, where it runs: it removes what is left.
    let scope = format!("/docker-{ID}.scope");
    let scopes = || vec![view(2, &[("/", busy(3)), (&scope, empty())])];
    let with_systemd = Records { systemd: true, ..records(&[]) };
    assert!(wrong(&tree(scopes(), &with_systemd)).is_empty());
    assert_eq!(wrong(&tree(scopes(), &records(&[]))).len(), 1);
    // A container within one that runs is known in there.
    let (outer, inner) = (format!("/docker/{ID}"), format!("/docker/{ID}/irpsym10jqj937p3dxo13jky1"));
    let nested = view(2, &[("/", busy(3)), ("/docker", busy(0)), (&outer, busy(1)), (&inner, empty())]);
    assert!(wrong(&tree(vec![nested], &records(&[]))).is_empty());
}

#[test]
fn a_container_that_runs_in_one_hierarchy_is_leaked_in_none() {
    let docker = format!("/docker/{ID}");
    let of = |processes: u64| {
        let details = |processes| Details { populated: None, ..busy(processes) };
        let one = view(1, &[("/", details(3)), ("/docker", details(0)), (&docker, details(processes))]);
        let other = view(1, &[("/", details(3)), ("/docker", details(0)), (&docker, details(0))]);
        wrong(&tree(vec![one, other], &records(&[]))).len()
    };
    assert_eq!((of(0), of(1)), (2, 0));
}

#[test]
fn lxcs_name_that_was_taken_is_left_over() {
    let of = |names: &[&str], sibling: Details| {
        let view = view(2, &[("/", busy(3)), ("/lxc.payload.web", empty()), ("/lxc.payload.web-1", sibling)]);
        wrong(&tree(vec![view], &records(names)))
    };
    assert_eq!(of(&["web"], busy(1)), ["stale-cgroup /lxc.payload.web"]);
    let none: [&str; 0] = [];
    assert_eq!(of(&["web", "web-1"], busy(1)), none, "that is another container's name");
    assert_eq!(of(&["web"], empty()), none, "web may have stopped twice");
    assert_eq!(of(&[], empty()), ["leaked-cgroup /lxc.payload.web", "leaked-cgroup /lxc.payload.web-1"]);
}

#[test]
fn what_is_not_released_is_told_where_it_was_and_claimed_if_it_stays() {
    let dying = |count| Details { dying: Some(count), ..empty() };
    let views = || vec![view(2, &[("/", dying(7)), ("/a", dying(6)), ("/a/b", dying(4)), ("/c", dying(0))])];
    let found = |tree: &Tree| -> Vec<(String, u64)> {
        let each = |at| tree.wrong(at).iter().map(move |wrong| (tree.path(at).to_string(), wrong.count.unwrap_or(0)));
        tree.all().flat_map(each).collect()
    };
    let path = |path: &str, count| (path.to_owned(), count);
    let mut one = tree(views(), &records(&[]));
    assert_eq!(found(&one), [path("/", 1), path("/a", 2), path("/a/b", 4)]);
    // Of those of /a/b two are released meanwhile, which are less around it too; those of / are the same.
    let again = |_: &View, path: &Name| {
        Some(dying(if *path == "/" {
            7
        } else if *path == "/a" {
            5
        } else {
            2
        }))
    };
    one.confirm(again, |_| None);
    assert_eq!(found(&one), [path("/", 1)]);
    let mut gone = tree(views(), &records(&[]));
    gone.confirm(|_, _| None, |_| None);
    assert!(found(&gone).is_empty());
    // v1 has one number for a whole hierarchy.
    let legacy = || vec![View { dying: Some(3), ..view(1, &[("/", busy(1)), ("/a", empty())]) }];
    let mut one = tree(legacy(), &records(&[]));
    assert_eq!(found(&one), [path("/", 3)]);
    one.confirm(|_, _| Some(empty()), |_| Some(3));
    assert_eq!(found(&one), [path("/", 3)]);
    one.confirm(|_, _| Some(empty()), |_| Some(2));
    assert!(found(&one).is_empty());
}

#[test]
fn a_leak_is_taken_back_if_a_second_look_finds_somebody_or_nothing() {
    let docker = format!("/docker/{ID}");
    for (again, left) in [(Some(empty()), 1), (Some(busy(1)), 0), (None, 0), (Some(Details::default()), 0)] {
        let mut tree = tree(vec![view(2, &[("/", busy(3)), ("/docker", empty()), (&docker, empty())])], &records(&[]));
        tree.confirm(|_, _| again.clone(), |_| None);
        assert_eq!(wrong(&tree).len(), left, "{again:?}");
    }
}

#[test]
fn the_chain_of_controllers_breaks_where_one_is_not_enabled() {
    let has = |own: &[&str]| Details { controllers: list(own), ..empty() };
    let view = view(
        2,
        &[
            ("/", has(&["cpu", "memory", "pids"])),
            ("/a", has(&["cpu", "memory"])),
            ("/a/b", has(&["memory"])),
            ("/a/b/c", has(&["memory"])),
            ("/d", empty()),
        ],
    );
    let tree = tree(vec![view], &records(&[]));
    let missing = |place| -> Vec<String> {
        let missing = tree.row(At { view: 0, place }).missing;
        missing.iter().map(|missing| format!("{} {}", missing.controller, missing.not_enabled_in)).collect()
    };
    assert!(missing(0).is_empty());
    assert_eq!(missing(1), ["pids /"]);
    assert_eq!(
        (missing(2), missing(3)),
        (vec!["pids /".to_owned(), "cpu /a".to_owned()], vec!["pids /".into(), "cpu /a".into()])
    );
    assert!(missing(4).is_empty(), "its controllers are not known");
}

#[test]
fn processes_are_summed_as_far_as_they_are_known() {
    let unknown = || Details { processes: None, populated: None, ..empty() };
    let threaded = Details { kind: Some("threaded".to_owned()), ..unknown() };
    let of = |details: Details| {
        let view = view(2, &[("/", busy(3)), ("/a", busy(2)), ("/a/b", details), ("/c", empty())]);
        let tree = tree(vec![view], &records(&[]));
        [0, 1, 2].map(|place| tree.row(At { view: 0, place }).subtree_processes)
    };
    assert_eq!(of(busy(4)), [Some(9), Some(6), Some(4)]);
    assert_eq!(of(unknown()), [None, None, None]);
    assert_eq!(of(threaded), [Some(5), Some(2), None], "a threaded one's processes are its domain's");
}

#[test]
fn a_state_names_a_cgroup_that_its_path_does_not() {
    let state = State { id: "web".into(), runtime: "runc", path: "/some/where".into() };
    let records = Records { states: vec![state], ..records(&["web"]) };
    let view = view(2, &[("/", busy(1)), ("/some", empty()), ("/some/where", empty()), ("/some/where/below", empty())]);
    let tree = tree(vec![view], &records);
    let of = |place| tree.container(At { view: 0, place }).map(|container| (container.id.to_string(), container.rule));
    assert_eq!(of(1), None);
    assert_eq!((of(2), of(3)), (Some(("web".into(), STATE_RULE.into())), Some(("web".into(), STATE_RULE.into()))));
    assert!(wrong(&tree).is_empty());
    assert_eq!(tree.containers(|_| true), [(Name::from("web"), "runc".to_owned())]);
}

#[test]
fn a_unit_is_the_innermost_one_and_only_where_systemd_runs() {
    let unit = |path: &str, systemd| {
        let view = view(2, &[("/", busy(1)), ("/a.slice", empty()), ("/a.slice/b.service", empty()), (path, empty())]);
        tree(vec![view], &Records { systemd, ..records(&[]) })
            .row(At { view: 0, place: 3 })
            .unit
            .map(|unit| unit.to_string())
    };
    assert_eq!(unit("/a.slice/b.service/payload", true).as_deref(), Some("b.service"));
    assert_eq!((unit("/a.slice/b.service/payload", false), unit("/web", true)), (None, None));
}

#[test]
fn one_is_as_old_as_any_that_was_made_after_it_and_no_older_than_the_host() {
    let since = |since| Details { there_since: since, ..empty() };
    let cgroups = [
        ("/", since(None)),
        ("/a", since(None)),
        ("/b", since(Some(70))),
        ("/c", since(Some(50))),
        ("/d", since(Some(90))),
    ];
    let mut view = view(2, &cgroups);
    // `d` is the first of them that was made, whatever its place in the tree.
    view.cgroups[4].id = CgroupId(2);
    view.cgroups[1].id = CgroupId(9);
    let times = |view: &View| view.cgroups.iter().map(|seen| seen.details.there_since).collect::<Vec<_>>();
    judge::settle_times(&mut view, 0);
    assert_eq!(times(&view)[1..], [None, Some(50), Some(50), Some(50)]);
    judge::settle_times(&mut view, 60);
    assert_eq!(times(&view)[1..], [None, Some(60), Some(60), Some(60)]);
}

#[test]
fn arguments_name_a_container_in_any_place() {
    let mut records = records(&[]);
    records.learn(Some(&["shim".into(), "-id".into(), "a1".into(), "--bundle=/run/b2/x".into()]));
    assert!(["a1", "b2", "-id"].iter().all(|name| records.names.contains(&Name::from(*name))) && records.whole);
    records.learn(None);
    assert!(!records.whole);
}

#[test]
fn a_path_begins_where_its_mount_does() {
    let view = View { root: "/sub".into(), ..view(2, &[("/", empty()), ("/a", empty())]) };
    assert_eq!((view.path(0), view.path(1)), ("/sub".into(), "/sub/a".into()));
}

mod printed {
    use super::*;
    use crate::output::{ColorChoice, Palette};
    use crate::tree::text::{Style, print};

    fn printed(tree: &Tree, style: impl Fn(Style) -> Style, wanted: impl Fn(At) -> bool) -> Vec<String> {
        let style = style(Style { palette: Palette::new(ColorChoice::Never), width: None, wide: false, depth: None });
        let mut out = Vec::new();
        print(&mut out, tree, "host", Setup::Unified, style, wanted).expect("written");
        let text = String::from_utf8(out).expect("text");
        // Behind the heading and the names of the columns.
        text.lines().skip(4).map(|line| line.trim_end().to_owned()).collect()
    }

    #[test]
    fn hierarchies_are_one_tree_by_path_with_what_differs() {
        let one = view(1, &[("/", busy(3)), ("/b", busy(2)), ("/b/x", busy(1))]);
        let mut other = view(1, &[("/", busy(3)), ("/a", busy(1)), ("/b", busy(1))]);
        other.hierarchy.controllers = vec!["memory".to_owned(), "name=systemd".to_owned()];
        let tree = tree(vec![one, other], &records(&[]));
        assert_eq!(
            printed(&tree, |style| style, |_| true),
            [
                "     6          /  cpu memory systemd",
                "     1  ≥16 m   ├─ a  -cpu",
                "     3  ≥16 m   └─ b",
                "     1  ≥16 m      └─ x  only cpu",
            ]
        );
        let wide = printed(&tree, |style| Style { wide: true, ..style }, |_| true);
        assert_eq!(wide.iter().filter(|line| line.ends_with("└─ b")).count(), 2, "{wide:#?}");
    }

    #[test]
    fn empty_ones_are_folded_and_others_are_not() {
        let docker = format!("/docker/{ID}");
        let cgroups = [
            ("/", busy(3)),
            ("/a", empty()),
            ("/b", empty()),
            ("/c", empty()),
            ("/d", busy(1)),
            ("/docker", empty()),
            (&docker, empty()),
        ];
        let tree = tree(vec![view(2, &cgroups)], &records(&[ID]));
        let lines = [
            "     4          /",
            "     1  ≥16 m   ├─ d",
            "     0  ≥16 m   ├─ docker",
            "     0  ≥16 m   │  └─ a1b2c3d4e5f6…  docker",
            "     0          └─ 3 empty: a, b, c",
        ];
        assert_eq!(printed(&tree, |style| style, |_| true), lines);
        let shallow = printed(&tree, |style| Style { depth: Some(1), ..style }, |_| true);
        assert_eq!(shallow[2], "     0  ≥16 m   ├─ docker  … 1 below");
    }

    #[test]
    fn only_what_is_wanted_is_told_of_and_what_is_around_it_is_named() {
        let tree =
            tree(vec![view(2, &[("/", busy(3)), ("/a", busy(1)), ("/a/b", busy(1)), ("/c", busy(1))])], &records(&[]));
        let is_b = |at: At| tree.path(at) == "/a/b";
        assert_eq!(
            printed(&tree, |style| style, is_b),
            ["     6          /", "     2  ≥16 m   └─ a", "     1  ≥16 m      └─ b"]
        );
    }

    #[test]
    fn a_line_fits_the_terminal_and_no_name_moves_its_cursor() {
        let name = format!("/{}\u{1b}[2J", "x".repeat(100));
        let tree = tree(vec![view(2, &[("/", busy(3)), (&name, busy(1))])], &records(&[]));
        let narrow = printed(&tree, |style| Style { width: Some(60), ..style }, |_| true);
        assert!(narrow.iter().all(|line| line.chars().count() <= 60) && narrow[1].ends_with('…'), "{narrow:#?}");
        let whole = printed(&tree, |style| style, |_| true);
        assert!(whole[1].ends_with("\\x1b[2J"), "{whole:#?}");
    }

    #[test]
    fn what_may_be_wrong_is_told_once_with_its_reasons() {
        let docker = format!("/docker/{ID}");
        let one = || view(1, &[("/", busy(3)), ("/docker", empty()), (&docker, empty())]);
        let told = printed(&tree(vec![one(), one()], &records(&[])), |style| style, |_| true);
        assert_eq!(told[2], "     0  ≥16 m      └─ a1b2c3d4e5f6…  may be leaked  docker");
        let told = told.join("\n");
        assert!(
            told.contains("\nwhat may be wrong\nleaked-cgroup  /docker/a1b2c3d4e5f6…  cpu cpu\n  may be leaked"),
            "{told}"
        );
        assert_eq!(told.matches("leaked-cgroup").count(), 1);
    }
}
