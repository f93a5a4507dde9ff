//! Who speaks to whom, computed from what the modules declare and from nothing else.

mod nats;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::sync::Arc;

use pangaea_contracts::{Kind, Subject};
use pangaea_kernel::{Definition, Reading};
use serde::Serialize;

pub use self::nats::PROVISIONER;

/// The modules of a catalogue and the subjects between them. Everything in it is sorted, so that it prints the same for the
/// same declarations.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Topology {
    pub modules: Vec<ModuleNode>,
    pub edges: Vec<Edge>,
}

/// What one module declares; subjects without the namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ModuleNode {
    pub name: String,
    /// Events that it says.
    pub emits: BTreeSet<String>,
    /// Commands that it gives to other modules.
    pub sends: BTreeSet<String>,
    /// Events and commands that it reads, by the module whose log they are in.
    pub consumes: BTreeMap<String, BTreeSet<String>>,
    /// Commands from HTTP.
    pub serves: BTreeSet<String>,
    /// Timers of its own.
    pub timers: BTreeSet<String>,
    /// Effects that it has performed.
    pub performs: BTreeSet<String>,
}

/// What one reader of a module reads from another's log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Edge {
    pub source: String,
    pub module: String,
    /// The name of its cursor and of its consumer: the module's own, but for readers that were added later.
    pub reader: String,
    pub subjects: BTreeSet<String>,
}

// === impl Topology ===

impl Topology {
    /// The topology of a whole catalogue, whatever part of it runs in one process.
    pub fn from_definitions(definitions: &[Arc<Definition>]) -> Self {
        let mut modules: Vec<ModuleNode> = definitions.iter().map(|definition| ModuleNode::of(definition)).collect();
        modules.sort_by(|left, right| left.name.cmp(&right.name));
        let mut edges: Vec<Edge> = definitions.iter().flat_map(|definition| Edge::of(definition)).collect();
        edges.sort_by(|left, right| (&left.source, &left.reader).cmp(&(&right.source, &right.reader)));
        Self { modules, edges }
    }

    /// What would never arrive. `hosted` names the modules of one process, `memory_bus` whether its bus ends there; what is
    /// said and handled nowhere is looked for in the whole catalogue.
    pub fn faults(&self, hosted: &[&str], memory_bus: bool) -> Vec<String> {
        let mut faults = Vec::new();
        for pair in self
            .edges
            .windows(2)
            .filter(|pair| (&pair[0].source, &pair[0].reader) == (&pair[1].source, &pair[1].reader))
        {
            faults.push(format!(
                "{} and {} would both read {} as {}",
                pair[0].module, pair[1].module, pair[0].source, pair[0].reader
            ));
        }
        for Edge { source, module: reader, subjects, .. } in &self.edges {
            let spoken = self.module(source);
            for subject in subjects.iter().filter(|subject| !spoken.is_some_and(|module| module.says(subject))) {
                faults.push(format!("{reader} consumes {subject}, which no module says"));
            }
            let here = |name: &str| hosted.contains(&name);
            if memory_bus && spoken.is_some() && here(reader) && !here(source) {
                faults.push(format!(
                    "{reader} consumes {}, but {source} does not run in this process and the memory bus ends with it; host {source} too \
                     (runtime.modules), or set bus.kind to \"nats\"",
                    join(subjects, ", ")
                ));
            }
        }
        for module in &self.modules {
            for subject in module.sends.iter().filter(|subject| !self.handles(&module.name, subject)) {
                faults.push(format!("{} sends {subject}, which no module handles", module.name));
            }
        }
        faults
    }

    /// A Mermaid flowchart.
    pub fn to_mermaid(&self) -> String {
        let mut text = String::from("flowchart LR\n");
        for ModuleNode { name, .. } in &self.modules {
            let _ = writeln!(text, "    {name}[{name}]");
        }
        for Edge { source, module: reader, subjects, .. } in &self.edges {
            let _ = writeln!(text, "    {source} -->|\"{}\"| {reader}", join(subjects, "<br/>"));
        }
        text
    }

    /// A Graphviz digraph.
    pub fn to_dot(&self) -> String {
        let mut text = String::from("digraph pangaea {\n    rankdir=LR;\n    node [shape=box];\n");
        for ModuleNode { name, .. } in &self.modules {
            let _ = writeln!(text, "    \"{name}\";");
        }
        for Edge { source, module: reader, subjects, .. } in &self.edges {
            let _ = writeln!(text, "    \"{source}\" -> \"{reader}\" [label=\"{}\"];", join(subjects, "\\n"));
        }
        text.push_str("}\n");
        text
    }

    /// Modules and edges as indented JSON.
    pub fn to_json(&self) -> String {
        // Texts, lists and maps with text for keys: nothing here can fail.
        let mut text = serde_json::to_string_pretty(self).unwrap_or_default();
        text.push('\n');
        text
    }

    fn module(&self, name: &str) -> Option<&ModuleNode> {
        self.modules.iter().find(|module| module.name == name)
    }

    fn handles(&self, source: &str, subject: &str) -> bool {
        self.modules.iter().any(|module| module.consumes.get(source).is_some_and(|subjects| subjects.contains(subject)))
    }
}

fn join(subjects: &BTreeSet<String>, separator: &str) -> String {
    subjects.iter().map(String::as_str).collect::<Vec<_>>().join(separator)
}

// === impl Edge ===

impl Edge {
    fn of(definition: &Definition) -> Vec<Self> {
        let edge = |reading: Reading| Self {
            source: reading.source,
            module: definition.name().to_owned(),
            reader: reading.reader,
            subjects: reading.subjects.into_iter().map(str::to_owned).collect(),
        };
        definition.readings().into_iter().map(edge).collect()
    }
}

// === impl ModuleNode ===

impl ModuleNode {
    fn of(definition: &Definition) -> Self {
        let mut node = Self { name: definition.name().to_owned(), ..Self::default() };
        for (source, subjects) in definition.consumed() {
            node.consumes.insert(source, subjects.into_iter().map(str::to_owned).collect());
        }
        for subject in definition.handled() {
            if kind(subject) == Some(Kind::Request) {
                node.serves.insert(subject.to_owned());
            }
        }
        for subject in definition.said() {
            let list = match kind(subject) {
                Some(Kind::Event) => &mut node.emits,
                Some(Kind::Command) => &mut node.sends,
                Some(Kind::Timer) => &mut node.timers,
                Some(Kind::Effect) => &mut node.performs,
                // No one says requests; a subject that cannot be parsed is a fault of its definition, which says so.
                Some(Kind::Request) | None => continue,
            };
            list.insert(subject.to_owned());
        }
        node
    }

    fn says(&self, subject: &str) -> bool {
        self.emits.contains(subject) || self.sends.contains(subject)
    }
}

fn kind(subject: &str) -> Option<Kind> {
    Subject::parse(subject).ok().map(|subject| subject.kind)
}

#[cfg(test)]
mod tests;
