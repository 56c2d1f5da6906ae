//! What names of constants, nodes and modules say.

/// True if `text` is of the form `glob`: `*` stands for any text, `?` for one character.
pub(super) fn matches(glob: &str, text: &str) -> bool {
    let text: Vec<char> = text.chars().collect();
    // Whether the glob so far matches the first so many characters.
    let mut reach = vec![false; text.len() + 1];
    reach[0] = true;
    for g in glob.chars() {
        if g == '*' {
            let mut any = false;
            for place in &mut reach {
                any |= *place;
                *place = any;
            }
        } else {
            for i in (0..text.len()).rev() {
                reach[i + 1] = reach[i] && (g == '?' || g == text[i]);
            }
            reach[0] = false;
        }
    }
    reach[text.len()]
}

/// True for the builder's own constants.
pub(super) fn is_constant(name: &str) -> bool {
    name.starts_with("constant/")
}

/// True for a name that an exporter made up.
pub(super) fn is_made_up(name: &str) -> bool {
    let numbered = |prefix: &str| name.strip_prefix(prefix).is_some_and(is_number);
    let constant = |part: &str| {
        let head = part.as_bytes().get(..5);
        head.is_some_and(|head| head.eq_ignore_ascii_case(b"const"))
    };
    is_constant(name)
        || name.is_empty()
        || is_number(name)
        || name.starts_with("onnx::")
        || name.starts_with("scalar_tensor")
        || ["val_", "_val_", "_v_"].into_iter().any(numbered)
        || name.split(['/', '.']).any(constant)
}

pub(super) fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit())
}

/// The dotted module of a node that PyTorch's exporter named: `blocks.0.attn` of
/// `/blocks/blocks.0/attn/MatMul_1`.
pub(super) fn module_of(node: &str) -> String {
    let mut parts: Vec<&str> = node.split('/').filter(|part| !part.is_empty()).collect();
    // The operator.
    parts.pop();
    let mut path = String::new();
    let mut before = "";
    for part in parts {
        // A member of a list repeats the list's name.
        let own = part.strip_prefix(before).filter(|_| !before.is_empty());
        match own.and_then(|own| own.strip_prefix('.')) {
            Some(member) => path.extend([".", member]),
            None if path.is_empty() => path.push_str(part),
            None => path.extend([".", part]),
        }
        before = part;
    }
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn globs_match_whole_names() {
        for (glob, text, expected) in [
            ("*", "", true),
            ("*.bias", "blocks.0.attn.qkv.bias", true),
            ("*.bias", "bias", false),
            ("blocks.1?.*", "blocks.11.norm1.weight", true),
            ("blocks.1?.*", "blocks.1.norm1.weight", false),
            ("*a*b*", "xxaxxaxxb", true),
            ("fc", "fc.weight", false),
        ] {
            assert_eq!(matches(glob, text), expected, "{glob} {text}");
        }
    }

    #[test]
    fn names_that_nobody_gave_are_known() {
        let made_up = [
            "constant/0",
            "onnx::MatMul_812",
            "/blocks.0/attn/Constant_1_output_0",
            "val_12",
            "42",
            "const_fold_opt__3",
            "",
        ];
        assert!(made_up.into_iter().all(is_made_up));
        let given =
            ["fc.weight", "gamma", "blocks.0.ls1.gamma", "val_head.weight", "model/conv/w:0"];
        assert!(!given.into_iter().any(is_made_up));
    }

    #[test]
    fn modules_are_read_from_node_names() {
        for (node, expected) in [
            ("/blocks/blocks.0/attn/qkv/MatMul", "blocks.0.attn.qkv"),
            ("/layer1/layer1.0/conv1/Conv", "layer1.0.conv1"),
            ("/stages/stages.1/blocks/blocks.2/Mul_3", "stages.1.blocks.2"),
            ("/fc/Gemm", "fc"),
            ("Conv_12", ""),
            ("", ""),
        ] {
            assert_eq!(module_of(node), expected, "{node}");
        }
    }
}
