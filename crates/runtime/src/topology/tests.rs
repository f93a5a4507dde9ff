use std::sync::Arc;

use pangaea_contracts::{Message, user::KeyPublished};
use pangaea_kernel::{Answer, Cx, Definition, Failure, Reader, Start};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Topology;

macro_rules! message {
    ($name:ident, $subject:literal) => {
        #[derive(Serialize, Deserialize, JsonSchema)]
        struct $name {
            id: String,
        }

        impl Message for $name {
            const SUBJECT: &'static str = $subject;

            fn key(&self) -> String {
                self.id.clone()
            }
        }
    };
}

message!(Bake, "oven.rpc.bake.v1");
message!(Baked, "oven.evt.baked.v1");
message!(Burnt, "oven.evt.burnt.v1");
message!(Deliver, "oven.cmd.van.deliver.v1");
message!(Cooled, "oven.tmr.cooled.v1");

async fn bake(_: &mut Cx, _: Bake) -> Result<Answer, Failure> {
    Err(Failure::poison("never run here"))
}

async fn note<M: Message>(_: &mut Cx, _: M) -> Result<(), Failure> {
    Ok(())
}

/// `user` speaks the key that every module reads.
fn user() -> Arc<Definition> {
    Arc::new(Definition::new("user").emits::<KeyPublished>())
}

fn oven() -> Definition {
    Definition::new("oven").command::<Bake>(bake).timer::<Cooled>(note::<Cooled>).emits::<Baked>().sends::<Deliver>()
}

fn van() -> Definition {
    Definition::new("van").on::<Baked>(note::<Baked>).on::<Deliver>(note::<Deliver>)
}

fn bakery() -> Topology {
    Topology::from_definitions(&[Arc::new(van()), user(), Arc::new(oven())])
}

#[test]
fn edges_run_from_the_log_to_its_readers() {
    let topology = bakery();
    let names: Vec<&str> = topology.modules.iter().map(|module| module.name.as_str()).collect();
    assert_eq!(names, ["oven", "user", "van"]);
    let edges: Vec<String> = topology
        .edges
        .iter()
        .map(|edge| format!("{}>{} {}", edge.source, edge.reader, super::join(&edge.subjects, " ")))
        .collect();
    let key = KeyPublished::SUBJECT;
    assert_eq!(
        edges,
        [
            "oven>van oven.cmd.van.deliver.v1 oven.evt.baked.v1".to_owned(),
            format!("user>oven {key}"),
            format!("user>van {key}")
        ]
    );
    let oven = &topology.modules[0];
    assert!(oven.serves.contains("oven.rpc.bake.v1") && oven.timers.contains("oven.tmr.cooled.v1"));
    assert!(oven.emits.contains("oven.evt.baked.v1") && oven.sends.contains("oven.cmd.van.deliver.v1"));
}

#[test]
fn a_whole_catalogue_has_no_faults_on_either_bus() {
    let all = ["oven", "user", "van"];
    assert_eq!(bakery().faults(&all, true), Vec::<String>::new());
    assert_eq!(bakery().faults(&["van"], false), Vec::<String>::new());
}

#[test]
fn the_memory_bus_needs_the_source_in_the_same_process() {
    let faults = bakery().faults(&["user", "van"], true);
    assert_eq!(faults.len(), 1, "{faults:?}");
    assert!(
        faults[0].contains("oven does not run in this process") && faults[0].contains("oven.evt.baked.v1"),
        "{faults:?}"
    );
}

#[test]
fn what_nobody_says_and_what_nobody_handles_is_named() {
    let deaf = Definition::new("van").on::<Burnt>(note::<Burnt>);
    let topology = Topology::from_definitions(&[user(), Arc::new(oven()), Arc::new(deaf)]);
    assert_eq!(
        topology.faults(&[], false),
        [
            "van consumes oven.evt.burnt.v1, which no module says",
            "oven sends oven.cmd.van.deliver.v1, which no module handles"
        ]
    );
    let without_source = Topology::from_definitions(&[user(), Arc::new(van())]);
    assert_eq!(
        without_source.faults(&["user", "van"], true).len(),
        2,
        "each subject once, and no advice to host what is not there"
    );
}

#[test]
fn drawings_are_the_same_for_any_order_of_the_catalogue() {
    let (topology, reordered) = (bakery(), Topology::from_definitions(&[Arc::new(oven()), Arc::new(van()), user()]));
    assert_eq!(topology.to_mermaid(), reordered.to_mermaid());
    assert_eq!(topology.to_dot(), reordered.to_dot());
    assert_eq!(topology.to_json(), reordered.to_json());
    let edge = "    oven -->|\"oven.cmd.van.deliver.v1<br/>oven.evt.baked.v1\"| van\n";
    assert!(
        topology.to_mermaid().starts_with("flowchart LR\n    oven[oven]\n") && topology.to_mermaid().contains(edge)
    );
    assert!(
        topology
            .to_dot()
            .contains("    \"oven\" -> \"van\" [label=\"oven.cmd.van.deliver.v1\\noven.evt.baked.v1\"];\n")
    );
    let json: serde_json::Value = serde_json::from_str(&topology.to_json()).unwrap();
    assert_eq!(json["edges"][0]["reader"], "van");
    assert_eq!(json["modules"][2]["consumes"]["oven"][1], "oven.evt.baked.v1");
}

#[test]
fn a_reader_of_its_own_is_an_edge_of_its_own() {
    let reader = Reader::named("burns", Start::Now);
    let oven = || Arc::new(oven().emits::<Burnt>());
    let topology = Topology::from_definitions(&[Arc::new(van().on_from(reader, note::<Burnt>)), user(), oven()]);
    let readers: Vec<_> =
        topology.edges.iter().filter(|edge| edge.source == "oven").map(|edge| &*edge.reader).collect();
    assert_eq!(readers, ["van", "van-burns"]);
    assert!(topology.edges.iter().filter(|edge| edge.source == "oven").all(|edge| edge.module == "van"));
    assert_eq!(topology.faults(&["van", "oven", "user"], true), Vec::<String>::new());
    assert!(topology.faults(&["van", "user"], true)[0].contains("oven does not run in this process"));
    let same_name = Definition::new("van-burns").on::<Baked>(note::<Baked>);
    let both = [Arc::new(van().on_from(reader, note::<Burnt>)), Arc::new(same_name), user(), oven()];
    let faults = Topology::from_definitions(&both).faults(&[], false);
    assert_eq!(faults.len(), 1, "{faults:?}");
    assert!(faults[0].contains("would both read oven as van-burns"), "{faults:?}");
}
