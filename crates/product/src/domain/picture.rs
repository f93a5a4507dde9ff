//! Pictures are SVG texts that a shop window may put into its page as they are. So they may hold shapes and nothing that
//! runs or loads: what is not on these lists is refused. A list of what is bad was rejected, because it is never complete.

const ELEMENTS: [&str; 14] = [
    "svg",
    "g",
    "path",
    "rect",
    "circle",
    "ellipse",
    "line",
    "polyline",
    "polygon",
    "defs",
    "linearGradient",
    "radialGradient",
    "stop",
    "title",
];

const ATTRIBUTES: [&str; 42] = [
    "xmlns",
    "viewBox",
    "width",
    "height",
    "x",
    "y",
    "x1",
    "y1",
    "x2",
    "y2",
    "cx",
    "cy",
    "r",
    "rx",
    "ry",
    "d",
    "points",
    "transform",
    "fill",
    "fill-opacity",
    "fill-rule",
    "stroke",
    "stroke-width",
    "stroke-linecap",
    "stroke-linejoin",
    "stroke-dasharray",
    "stroke-opacity",
    "opacity",
    "id",
    "offset",
    "stop-color",
    "stop-opacity",
    "gradientUnits",
    "gradientTransform",
    "fx",
    "fy",
    "spreadMethod",
    "preserveAspectRatio",
    "role",
    "aria-label",
    "aria-hidden",
    "focusable",
];

/// # Errors
/// Names the first thing that is not a shape, or says where the text is not well formed.
pub(super) fn check(text: &str) -> Result<(), String> {
    let mut rest = text.trim();
    if !rest.starts_with("<svg") {
        return Err("a picture is an SVG text that begins with <svg".to_owned());
    }
    let mut open: Vec<&str> = Vec::new();
    while !rest.is_empty() {
        let Some(inner) = rest.strip_prefix('<') else {
            let end = rest.find('<').unwrap_or(rest.len());
            if open.is_empty() || rest[..end].contains('&') {
                return Err("text outside an element, or with &, is not allowed in a picture".to_owned());
            }
            rest = &rest[end..];
            continue;
        };
        let end = tag_end(inner).ok_or("a tag of the picture is not closed")?;
        check_tag(&inner[..end], &mut open)?;
        rest = &inner[end + 1..];
        if open.is_empty() && !rest.is_empty() {
            return Err("there is something behind </svg>".to_owned());
        }
    }
    open.last().map_or(Ok(()), |name| Err(format!("<{name}> of the picture is not closed")))
}

/// Where the tag's `>` is; one in a quoted value is not it.
fn tag_end(inner: &str) -> Option<usize> {
    let mut quote = None;
    inner.char_indices().find_map(|(index, character)| {
        match (quote, character) {
            (None, '"' | '\'') => quote = Some(character),
            (Some(open), _) if open == character => quote = None,
            (None, '>') => return Some(index),
            _ => {}
        }
        None
    })
}

fn check_tag<'a>(tag: &'a str, open: &mut Vec<&'a str>) -> Result<(), String> {
    if let Some(name) = tag.strip_prefix('/') {
        let closes = open.pop().is_some_and(|opened| opened == name.trim_end());
        return if closes { Ok(()) } else { Err("the picture's elements are not nested properly".to_owned()) };
    }
    let (tag, empty) = tag.strip_suffix('/').map_or((tag, false), |tag| (tag, true));
    let name_end = tag.find(|character: char| character.is_ascii_whitespace()).unwrap_or(tag.len());
    let (name, attributes) = tag.split_at(name_end);
    if !ELEMENTS.contains(&name) {
        return Err(format!("a picture may not hold <{}>", name.chars().take(20).collect::<String>()));
    }
    if !empty {
        open.push(name);
    }
    check_attributes(attributes)
}

fn check_attributes(mut rest: &str) -> Result<(), String> {
    loop {
        rest = rest.trim_start();
        if rest.is_empty() {
            return Ok(());
        }
        let malformed = || "an attribute of the picture is not of the form name=\"value\"".to_owned();
        let (name, after) = rest.split_once('=').ok_or_else(malformed)?;
        if !ATTRIBUTES.contains(&name) {
            return Err(format!(
                "a picture may not have the attribute {:?}",
                name.chars().take(20).collect::<String>()
            ));
        }
        let quote = after.chars().next().filter(|quote| matches!(quote, '"' | '\'')).ok_or_else(malformed)?;
        let (value, after) = after[1..].split_once(quote).ok_or_else(malformed)?;
        // A reference may point into the picture itself only; entities could spell anything.
        if value.contains(['&', '<']) || value.replace("url(#", "").to_ascii_lowercase().contains("url(") {
            return Err(format!("the picture's attribute {name} may not refer to anything outside it"));
        }
        rest = after;
    }
}

#[cfg(test)]
mod tests {
    use super::check;

    #[test]
    fn shapes_are_let_through() {
        for good in [
            r##"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 10 10"><rect width="10" height='10' fill="#fff"/></svg>"##,
            r#"<svg><defs><linearGradient id="a"><stop offset="0"/></linearGradient></defs><g fill="url(#a)"><title>a > b</title></g></svg>"#,
        ] {
            assert_eq!(check(good), Ok(()), "{good}");
        }
    }

    #[test]
    fn what_runs_or_loads_is_refused() {
        for bad in [
            "",
            "<b>x</b>",
            "<svg>",
            "<svg></g></svg>",
            "<svg></svg><script></script>",
            "<svg><script>alert(1)</script></svg>",
            "<svg onload=\"alert(1)\"></svg>",
            "<svg onload=alert(1)></svg>",
            "<svg><image href=\"http://example.com/x\"/></svg>",
            "<svg><rect fill=\"URL(http://example.com/x)\"/></svg>",
            "<svg><rect fill=\"u&#114;l(http://example.com/x)\"/></svg>",
            "<svg><foreignObject/></svg>",
            "<svg><!-- x --></svg>",
            "<svg><rect style=\"fill:red\"/></svg>",
            "<svg/><svg/>",
            "<svg width=\"1></svg>",
        ] {
            assert!(check(bad).is_err(), "{bad}");
        }
    }
}
