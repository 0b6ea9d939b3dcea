//! Builds trees from the parser's events, without recursion, and counts their size. An alias costs as much as the value that
//! it repeats, so that a short text cannot become a large tree.
//!
//! It refuses keys that are not strings, unknown tags, and aliases inside of their own value. A merge key (`<<`) adds the
//! entries that the mapping does not have itself, as in kubectl.

use std::collections::{HashMap, HashSet};

use granit_parser::{Event, ScalarStyle, Tag};

use super::scalar::resolve;
use super::tree::{At, Caps, Key, Node, TreeError, TreeFault, Value};

/// Most values that aliases may repeat: enough for signers that policies share, too few for a "billion laughs" attack.
const MAX_REPLAYED: usize = 20_000;
/// Most values that anchors may hold. An anchor inside of another one is held twice.
const MAX_HELD: usize = 50_000;
/// Most anchors of a document, and most aliases of a text.
const MAX_ANCHORS: usize = 1_000;

/// The trees that were built so far.
pub(super) struct Builder {
    caps: Caps,
    documents: Vec<Node>,
    /// The number of documents, with the empty ones.
    count: usize,
    /// The collections that have not ended yet, the innermost last.
    open: Vec<Open>,
    anchors: HashMap<usize, (Node, Size)>,
    made: Size,
    held: Size,
    replayed: usize,
    aliases: usize,
    /// The place of the fault, if it is not the place of the event.
    fault_at: Option<At>,
}

/// The size of a value.
#[derive(Clone, Copy, Default)]
struct Size {
    nodes: usize,
    bytes: usize,
    depth: usize,
}

/// A collection that has not ended yet.
struct Open {
    at: At,
    anchor: usize,
    /// The size of all that was made before it.
    before: Size,
    /// The depth of its deepest value.
    depth: usize,
    content: Content,
}

enum Content {
    List(Vec<Node>),
    Map { entries: Vec<(Key, Node)>, key: Option<Left>, merged: Option<Vec<Node>> },
}

/// The left side of a colon.
enum Left {
    Key(Key),
    Merge(At),
}

impl Builder {
    pub(super) fn new(caps: Caps) -> Self {
        Self {
            caps,
            documents: Vec::new(),
            count: 0,
            open: Vec::new(),
            anchors: HashMap::new(),
            made: Size::default(),
            held: Size::default(),
            replayed: 0,
            aliases: 0,
            fault_at: None,
        }
    }

    /// The values and the bytes of strings that the caps leave.
    pub(super) fn left(&self) -> (usize, usize) {
        (self.caps.nodes.saturating_sub(self.made.nodes), self.caps.strings.saturating_sub(self.made.bytes))
    }

    pub(super) fn into_documents(self) -> Vec<Node> {
        self.documents
    }

    /// A fault and its place.
    pub(super) fn placed(&self, fault: TreeFault, at: At) -> TreeError {
        TreeError { at: self.fault_at.unwrap_or(at), fault }
    }

    /// Takes the parser's next event.
    pub(super) fn take(&mut self, event: Event<'_>, at: At) -> Result<(), TreeFault> {
        match event {
            Event::DocumentStart(..) => {
                self.count += 1;
                if self.count > self.caps.documents { Err(TreeFault::TooMuch) } else { Ok(()) }
            }
            Event::Scalar(text, style, anchor, tag) => {
                let bytes = text.len();
                self.count_made(Size { nodes: 1, bytes, depth: 0 })?;
                if self.wants_key() && anchor == 0 && tag.is_none() {
                    return self.set_key(Key { at, text: text.into_owned() }, style);
                }
                let value = scalar(&text, style, tag.as_deref())?;
                self.add(Node { at, value }, anchor, Size { nodes: 1, bytes, depth: 0 })
            }
            Event::SequenceStart(_, anchor, tag) => {
                check_tag(tag.as_deref(), "seq")?;
                self.begin(at, anchor, Content::List(Vec::new()))
            }
            Event::MappingStart(_, anchor, tag) => {
                check_tag(tag.as_deref(), "map")?;
                self.begin(at, anchor, Content::Map { entries: Vec::new(), key: None, merged: None })
            }
            Event::SequenceEnd | Event::MappingEnd => self.end(),
            Event::Alias(anchor) => self.replay(anchor),
            Event::DocumentEnd => {
                self.anchors.clear(); // YAML 1.2.2 §3.2.2.2: an anchor is its document's
                Ok(())
            }
            // Other events say nothing about values.
            _ => Ok(()),
        }
    }

    fn begin(&mut self, at: At, anchor: usize, content: Content) -> Result<(), TreeFault> {
        if self.wants_key() {
            return Err(not_a_string());
        }
        let before = self.made;
        self.count_made(Size { nodes: 1, ..Size::default() })?;
        if self.open.len() >= self.caps.depth {
            return Err(TreeFault::TooMuch);
        }
        self.open.push(Open { at, anchor, before, depth: 0, content });
        Ok(())
    }

    fn end(&mut self) -> Result<(), TreeFault> {
        let Some(Open { at, anchor, before, depth, content }) = self.open.pop() else { return Ok(()) };
        let value = match content {
            Content::List(items) => Value::List(items),
            Content::Map { entries, merged, .. } => Value::Map(self.finished(entries, merged)?),
        };
        let size = Size {
            nodes: self.made.nodes.saturating_sub(before.nodes),
            bytes: self.made.bytes.saturating_sub(before.bytes),
            depth: depth.saturating_add(1),
        };
        self.add(Node { at, value }, anchor, size)
    }

    /// The entries of a mapping, each key once, with the merged ones.
    fn finished(
        &mut self,
        mut entries: Vec<(Key, Node)>,
        merged: Option<Vec<Node>>,
    ) -> Result<Vec<(Key, Node)>, TreeFault> {
        let mut known = HashSet::new();
        if let Some((twice, _)) = entries.iter().find(|(key, _)| !known.insert(key.text.as_str())) {
            self.fault_at = Some(twice.at);
            return Err(TreeFault::DuplicateKey { key: twice.text.clone() });
        }
        let Some(merged) = merged else { return Ok(entries) };
        let mut known: HashSet<String> = known.into_iter().map(str::to_owned).collect();
        for node in merged {
            let Value::Map(more) = node.value else {
                self.fault_at = Some(node.at);
                return Err(syntax("<< takes a mapping, or a list of mappings"));
            };
            entries.extend(more.into_iter().filter(|(key, _)| known.insert(key.text.clone())));
        }
        Ok(entries)
    }

    /// Repeats the value of an anchor.
    fn replay(&mut self, anchor: usize) -> Result<(), TreeFault> {
        let Some((node, size)) = self.anchors.get(&anchor) else {
            return Err(syntax("an alias is inside of the value that it repeats"));
        };
        if self.caps.aliases == 0 {
            return Err(syntax("an alias cannot be used here: write the value out"));
        }
        let (node, size) = (node.clone(), *size);
        self.aliases += 1;
        self.replayed = self.replayed.saturating_add(size.nodes);
        if self.aliases > self.caps.aliases || self.replayed > MAX_REPLAYED {
            return Err(TreeFault::TooMuch);
        }
        self.count_made(size)?;
        self.add(node, 0, size)
    }

    /// Adds a finished value to the collection that contains it.
    fn add(&mut self, node: Node, anchor: usize, size: Size) -> Result<(), TreeFault> {
        if self.open.len().saturating_add(size.depth) > self.caps.depth {
            return Err(TreeFault::TooMuch);
        }
        if anchor != 0 {
            self.held.nodes = self.held.nodes.saturating_add(size.nodes);
            self.held.bytes = self.held.bytes.saturating_add(size.bytes);
            let is_too_much = self.held.nodes > MAX_HELD || self.held.bytes > self.caps.strings;
            if is_too_much || self.anchors.len() >= MAX_ANCHORS {
                return Err(TreeFault::TooMuch);
            }
            self.anchors.insert(anchor, (node.clone(), size));
        }
        let Some(open) = self.open.last_mut() else {
            if !node.is_null() {
                self.documents.push(node);
            }
            return Ok(());
        };
        open.depth = open.depth.max(size.depth);
        match &mut open.content {
            Content::List(items) => items.push(node),
            Content::Map { entries, key, merged } => match key.take() {
                None => match node.value {
                    Value::Text(text) => *key = Some(Left::Key(Key { at: node.at, text })),
                    _ => return Err(not_a_string()),
                },
                Some(Left::Merge(at)) if merged.is_some() => {
                    self.fault_at = Some(at);
                    return Err(TreeFault::DuplicateKey { key: "<<".to_owned() });
                }
                Some(Left::Merge(_)) => {
                    *merged = Some(match node.value {
                        Value::List(items) => items,
                        _ => vec![node],
                    });
                }
                Some(Left::Key(key)) => entries.push((key, node)),
            },
        }
        Ok(())
    }

    /// Whether a key comes next.
    fn wants_key(&self) -> bool {
        self.open.last().is_some_and(|open| matches!(open.content, Content::Map { key: None, .. }))
    }

    fn set_key(&mut self, typed: Key, style: ScalarStyle) -> Result<(), TreeFault> {
        let is_plain = style == ScalarStyle::Plain;
        if is_plain && matches!(resolve(&typed.text), Value::Null) {
            return Err(not_a_string());
        }
        if let Some(Open { content: Content::Map { key, .. }, .. }) = self.open.last_mut() {
            *key = Some(if is_plain && typed.text == "<<" { Left::Merge(typed.at) } else { Left::Key(typed) });
        }
        Ok(())
    }

    fn count_made(&mut self, more: Size) -> Result<(), TreeFault> {
        self.made.nodes = self.made.nodes.saturating_add(more.nodes);
        self.made.bytes = self.made.bytes.saturating_add(more.bytes);
        if self.made.nodes > self.caps.nodes || self.made.bytes > self.caps.strings {
            return Err(TreeFault::TooMuch);
        }
        Ok(())
    }
}

/// A scalar's value.
fn scalar(text: &str, style: ScalarStyle, tag: Option<&Tag>) -> Result<Value, TreeFault> {
    let Some(tag) = tag else {
        return Ok(if style == ScalarStyle::Plain { resolve(text) } else { Value::Text(text.to_owned()) });
    };
    if tag.parts() == ("", "!") || tag.is_yaml_core_schema_tag("str") {
        return Ok(Value::Text(text.to_owned())); // YAML 1.2.2 §10.1.2: `!` makes it a string
    }
    let value = resolve(text);
    let fits = match value {
        Value::Null => tag.is_yaml_core_schema_tag("null"),
        Value::Bool(_) => tag.is_yaml_core_schema_tag("bool"),
        Value::Number(_) => tag.is_yaml_core_schema_tag("int") || tag.is_yaml_core_schema_tag("float"),
        Value::Text(_) | Value::List(_) | Value::Map(_) => false,
    };
    if fits { Ok(value) } else { Err(unfit(tag)) }
}

fn check_tag(tag: Option<&Tag>, kind: &str) -> Result<(), TreeFault> {
    match tag {
        Some(tag) if tag.parts() != ("", "!") && !tag.is_yaml_core_schema_tag(kind) => Err(unfit(tag)),
        _ => Ok(()),
    }
}

fn unfit(tag: &Tag) -> TreeFault {
    TreeFault::Syntax { message: format!("the tag {} is not supported, or does not fit the value", tag.original()) }
}

fn not_a_string() -> TreeFault {
    syntax("the key of a mapping must be a string")
}

fn syntax(message: &str) -> TreeFault {
    TreeFault::Syntax { message: message.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::super::tree::parse;
    use super::*;

    /// The first document, as JSON.
    fn read(text: &str) -> Result<serde_json::Value, TreeError> {
        fn json(node: &Node) -> serde_json::Value {
            match &node.value {
                Value::Null => serde_json::Value::Null,
                Value::Bool(truth) => (*truth).into(),
                Value::Number(number) => serde_json::json!(number),
                Value::Text(text) => text.as_str().into(),
                Value::List(items) => items.iter().map(json).collect(),
                Value::Map(entries) => entries.iter().map(|(key, node)| (key.text.clone(), json(node))).collect(),
            }
        }
        parse(text, Caps::FILE).map(|documents| documents.first().map(json).unwrap_or_default())
    }

    #[test]
    fn agrees_with_a_whole_reader_over_the_same_parser() {
        for text in [
            "a: 1\nb: [x, 'y', \"z\\n\", ~, true, 1.5, -3]\nc: {d: e, f: [[], {}]}\n",
            "a: |\n  x\n   y\nb: >-\n  x\n  y\nc:\n- d\n- - e\n",
            "base: &b {x: 1, y: [2]}\nagain: *b\nlist: [*b, *b]\n",
            "b: &b {x: 1, y: 2}\nc: {<<: *b, y: 3}\nd:\n  <<: [{x: 4}, *b]\n  z: 5\n",
            "b: &b {x: 1}\nc: {x: 2, <<: *b}\n",
            "a: !!str 1\nb: !!int \"2\"\nc: !!null ''\nd: !!seq [1]\ne: !!map {f: !!bool true}\n",
            "\"<<\": 1\n'1': 2\n3: 4\ntrue: 5\n",
            "# only this\n- a # and that\n- b\n",
            "%YAML 1.2\n---\na: b\n...\n",
            "? a\n: b\n",
            "a:\nb:\n  - \n  - c:\n",
            "a: &x 7\nb: *x\n&y c: *x\n",
        ] {
            let theirs: serde_json::Value = serde_saphyr::from_str(text).unwrap();
            assert_eq!(read(text).unwrap(), theirs, "{text}");
        }
    }

    #[test]
    fn what_nobody_needs_is_refused_where_it_stands() {
        for (text, place, words) in [
            ("a: 1\n[b]: 2\n", (2, 1), "the key of a mapping must be a string"),
            ("a: 1\n~: 2\n", (2, 1), "the key of a mapping must be a string"),
            ("a: &x [1]\n*x : 2\n", (2, 1), "the key of a mapping must be a string"),
            ("a:\n  !evil x", (2, 9), "the tag !evil is not supported, or does not fit the value"),
            ("a: !!int x", (1, 10), "the tag !!int is not supported, or does not fit the value"),
            ("a: !!binary aGk=", (1, 13), "the tag !!binary is not supported, or does not fit the value"),
            ("a: !!set {b}", (1, 10), "the tag !!set is not supported, or does not fit the value"),
            ("a: &x [*x]", (1, 8), "an alias is inside of the value that it repeats"),
            ("a: {<<: 7}", (1, 9), "<< takes a mapping, or a list of mappings"),
            ("a: {b: 1, <<: {}, <<: {}}", (1, 19), "\"<<\" stands twice in one mapping"),
            ("a: {b: 1, c: 2, b: 3}", (1, 17), "\"b\" stands twice in one mapping"),
        ] {
            let error = read(text).unwrap_err();
            assert_eq!((error.at.line, error.at.column, error.fault.to_string().as_str()), (place.0, place.1, words));
        }
        assert!(read("a: &x 1\n---\nb: *x\n").is_err(), "an anchor is its document's");
    }

    #[test]
    fn aliases_cost_what_they_stand_for() {
        let cases = [
            ("nodes", format!("a: &a [{}]\nb: [{}]\n", "x,".repeat(499), "*a,".repeat(40)), true),
            ("more nodes", format!("a: &a [{}]\nb: [{}]\n", "x,".repeat(499), "*a,".repeat(41)), false),
            ("aliases", format!("a: &a x\nb: [{}]\n", "*a,".repeat(1_000)), true),
            ("more aliases", format!("a: &a x\nb: [{}]\n", "*a,".repeat(1_001)), false),
            ("bytes", format!("a: &a {}\nb: [{}]\n", "x".repeat(500_000), "*a,".repeat(7)), true),
            ("more bytes", format!("a: &a {}\nb: [{}]\n", "x".repeat(500_000), "*a,".repeat(8)), false),
            ("anchors", (0..1_000).map(|n| format!("- &a{n} x\n")).collect(), true),
            ("more anchors", (0..1_001).map(|n| format!("- &a{n} x\n")).collect(), false),
            ("depth", (1..31).fold("- &a0 x\n".to_owned(), |all, n| format!("{all}- &a{n} [*a{}]\n", n - 1)), true),
            (
                "more depth",
                (1..33).fold("- &a0 x\n".to_owned(), |all, n| format!("{all}- &a{n} [*a{}]\n", n - 1)),
                false,
            ),
            ("documents", "--- x\n".repeat(16_384), true),
            ("more documents", "--- x\n".repeat(16_385), false),
            ("nesting", format!("{}{}", "[".repeat(32), "]".repeat(32)), true),
            ("more nesting", format!("{}{}", "[".repeat(33), "]".repeat(33)), false),
            ("held", format!("a: &a [&b [&c [{}]]]", "x,".repeat(16_600)), true),
            ("more held", format!("a: &a [&b [&c [{}]]]", "x,".repeat(16_700)), false),
        ];
        for (name, text, fits) in &cases {
            match read(text) {
                Ok(_) => assert!(fits, "{name}"),
                Err(error) => assert_eq!((error.fault, *fits), (TreeFault::TooMuch, false), "{name}"),
            }
        }
    }
}
