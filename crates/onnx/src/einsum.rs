//! The equation of ONNX's `Einsum`.

use std::collections::BTreeMap;

/// Labels of the dimensions of each input and of the output: `nhw,ixh->nixw`.
///
/// A label that is in no output is summed over. Ellipses are not read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Einsum {
    /// One label for each dimension of each input.
    pub inputs: Vec<Vec<char>>,
    /// One label for each dimension of the output.
    pub output: Vec<char>,
}

impl Einsum {
    /// Reads an equation; `None` if it is none, or has an ellipsis.
    ///
    /// ```
    /// let product = nearkin_onnx::Einsum::parse("ij, jk").ok_or("no equation")?;
    /// assert_eq!(product.output, ['i', 'k']);
    /// # Ok::<(), &str>(())
    /// ```
    pub fn parse(equation: &str) -> Option<Self> {
        let plain: String = equation.chars().filter(|c| !c.is_whitespace()).collect();
        let (inputs, output) = match plain.split_once("->") {
            Some((inputs, output)) => (inputs, Some(output)),
            None => (plain.as_str(), None),
        };
        let inputs: Vec<Vec<char>> = inputs.split(',').map(|part| part.chars().collect()).collect();
        let mut counts: BTreeMap<char, usize> = BTreeMap::new();
        for &label in inputs.iter().flatten() {
            *counts.entry(label).or_default() += 1;
        }
        // Without an arrow, the labels that occur once, in alphabetical order.
        let once = || counts.iter().filter(|(_, count)| **count == 1).map(|(label, _)| *label);
        let output: Vec<char> =
            output.map_or_else(|| once().collect(), |text| text.chars().collect());
        let known = |label: &char| counts.contains_key(label);
        let all_letters = counts.keys().all(|label| label.is_ascii_alphabetic());
        (all_letters && output.iter().all(known)).then_some(Self { inputs, output })
    }

    /// The equation in ONNX's form.
    pub fn to_equation(&self) -> String {
        let text = |labels: &Vec<char>| labels.iter().collect::<String>();
        let inputs: Vec<String> = self.inputs.iter().map(text).collect();
        format!("{}->{}", inputs.join(","), text(&self.output))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_equation_is_read_and_written_again() {
        let explicit = Einsum::parse("nhw, ixh -> nixw").unwrap();
        assert_eq!(explicit.inputs, [vec!['n', 'h', 'w'], vec!['i', 'x', 'h']]);
        assert_eq!(explicit.to_equation(), "nhw,ixh->nixw");
        assert_eq!(Einsum::parse("ba,ac").unwrap().to_equation(), "ba,ac->bc");
        for wrong in ["...a,ab->...b", "ab->c", "a1->a"] {
            assert_eq!(Einsum::parse(wrong), None, "{wrong}");
        }
    }
}
