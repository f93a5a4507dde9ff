//! Facts put in order: as a list in which nothing stands before its cause, and as trees by cause.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};

use super::fact::Fact;

/// A fact in its place.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Node {
    pub(super) fact: Fact,
    /// Index of its cause; none for what came from outside, or from where nobody looked.
    pub(super) parent: Option<usize>,
    /// Causes before it.
    pub(super) depth: usize,
}

/// The facts by time, but nothing before its cause: two modules may have two clocks. The same facts, in whatever order,
/// give the same list.
pub(super) fn in_causal_order(mut facts: Vec<Fact>) -> Vec<Node> {
    facts.sort_by(|left, right| sort_key(left).cmp(&sort_key(right)));
    let by_name: HashMap<(String, String), usize> =
        facts.iter().enumerate().map(|(rank, fact)| ((fact.module.clone(), fact.id.clone()), rank)).collect();
    let causes: Vec<Option<usize>> =
        facts.iter().map(|fact| fact.cause.as_ref().and_then(|cause| by_name.get(cause).copied())).collect();
    let mut effects: Vec<Vec<usize>> = vec![Vec::new(); facts.len()];
    let mut ready = BinaryHeap::new();
    for (rank, cause) in causes.iter().enumerate() {
        match cause {
            Some(cause) => effects[*cause].push(rank),
            None => ready.push(Reverse(rank)),
        }
    }
    let mut facts: Vec<Option<Fact>> = facts.into_iter().map(Some).collect();
    let mut nodes: Vec<Node> = Vec::with_capacity(facts.len());
    let mut places: HashMap<usize, usize> = HashMap::new();
    // What causes itself, over whatever detour, is never ready and is left out: ids are derived, so there is no such thing.
    while let Some(Reverse(rank)) = ready.pop() {
        let Some(fact) = facts[rank].take() else { continue };
        let parent = causes[rank].and_then(|cause| places.get(&cause).copied());
        let depth = parent.map_or(0, |parent: usize| nodes[parent].depth + 1);
        places.insert(rank, nodes.len());
        nodes.push(Node { fact, parent, depth });
        ready.extend(effects[rank].iter().map(|effect| Reverse(*effect)));
    }
    nodes
}

/// Time first; then what makes the order the same every time.
fn sort_key(fact: &Fact) -> (i64, Option<i64>, &str, Option<u64>, &str) {
    let published_at = fact.published_at.map(|moment| moment.as_millis());
    (fact.moment().as_millis(), published_at, &fact.module, fact.position, &fact.id)
}

/// The trees, each as the indices of its nodes, a cause before its effects and these in order.
pub(super) fn trees(parents: &[Option<usize>]) -> Vec<Vec<usize>> {
    let mut children: Vec<Vec<usize>> = vec![Vec::new(); parents.len()];
    for (index, parent) in parents.iter().enumerate() {
        if let Some(parent) = parent {
            children[*parent].push(index);
        }
    }
    let roots = parents.iter().enumerate().filter(|(_, parent)| parent.is_none()).map(|(index, _)| index);
    let tree = |root: usize| {
        let (mut tree, mut open) = (Vec::new(), vec![root]);
        while let Some(index) = open.pop() {
            tree.push(index);
            open.extend(children[index].iter().rev());
        }
        tree
    };
    roots.map(tree).collect()
}
