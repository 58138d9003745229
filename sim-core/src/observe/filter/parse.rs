//! Reads tokens into an expression.
//!
//! Source: pcap-filter(7), and the grammar of libpcap for what the manual page leaves open: which identifiers inherit
//! whose qualifiers, what may stand in parentheses, how operators bind.

use std::ops::Range;

use super::ast::{Arith, ArithOp, Comparison, Direction, Expr, Id, IdKind, Logic, Qualifiers, Wrapper};
use super::bpf::AluOp;
use super::lex::{Kind, Symbol, Token, tokens};
use super::names::{Keyword, Proto};
use super::{FilterError, MAX_NESTING};

/// Parses `text`; `None` if there is nothing but blanks.
///
/// # Errors
///
/// What the lexer refuses, a syntax error, parentheses and operators nested deeper than [`MAX_NESTING`].
pub(super) fn parse(text: &str) -> Result<Option<Expr<'_>>, FilterError> {
    let mut parser = Parser { text, tokens: tokens(text)?, at: 0, nesting: 0 };
    if parser.peek() == Kind::End {
        return Ok(None);
    }
    let expr = match parser.operand(None)? {
        Operand::Term(expr, qualifiers) => parser.chain(expr, qualifiers, Members::Any)?,
        other => return Err(parser.not_boolean(&other, None)),
    };
    match parser.peek() {
        Kind::End => Ok(Some(expr)),
        _ => Err(parser.unexpected("`and`, `or` or the end of the filter")),
    }
}

struct Parser<'a> {
    text: &'a str,
    tokens: Vec<Token<'a>>,
    at: usize,
    nesting: usize,
}

/// One member of a chain, or the content of parentheses, of which only what follows tells what it is.
enum Operand<'a> {
    /// A number that may be an identifier or the beginning of a comparison.
    Number(u32, Range<usize>),
    /// An arithmetic expression that is not compared with anything yet.
    Arith(Arith),
    /// Identifiers with inherited qualifiers. In parentheses they are a list, which is no member of a list itself
    /// unless a `not` precedes it (`port ((80 or 81) or 82)` is an error in libpcap as well).
    Ids { expr: Expr<'a>, parenthesised: bool, span: Range<usize> },
    /// Any other boolean expression, with the qualifiers that the next identifier inherits.
    Term(Expr<'a>, Option<Qualifiers>),
}

/// What the members of a chain may be, after the first.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Members {
    Any,
    Ids,
}

impl<'a> Parser<'a> {
    /// `first and second or …`, from the second member on.
    fn chain(
        &mut self,
        first: Expr<'a>,
        mut qualifiers: Option<Qualifiers>,
        members: Members,
    ) -> Result<Expr<'a>, FilterError> {
        let mut rest = Vec::new();
        while let Some(logic) = self.logic() {
            let start = self.span();
            let expr = match self.operand(qualifiers)? {
                Operand::Number(value, span) => self.primitive(qualifiers, Id::Number(value), span)?,
                Operand::Ids { expr, .. } => expr,
                Operand::Term(expr, next) if members == Members::Any => {
                    qualifiers = next;
                    expr
                }
                Operand::Term(..) => {
                    let message = "a list of identifiers in parentheses has another primitive in it";
                    return Err(FilterError::new(start, message).hint("repeat the qualifiers inside the parentheses"));
                }
                other @ Operand::Arith(_) => return Err(self.not_boolean(&other, qualifiers)),
            };
            rest.push((logic, expr));
        }
        Ok(if rest.is_empty() { first } else { Expr::Chain { first: Box::new(first), rest } })
    }

    fn logic(&mut self) -> Option<Logic> {
        let logic = match self.peek() {
            Kind::Keyword(Keyword::And) => Logic::And,
            Kind::Keyword(Keyword::Or) => Logic::Or,
            _ => return None,
        };
        self.advance();
        Some(logic)
    }

    /// A member with the `not`s before it; `inherited` are the qualifiers of an identifier that has none.
    fn operand(&mut self, inherited: Option<Qualifiers>) -> Result<Operand<'a>, FilterError> {
        let start = self.span().start;
        let mut negations = 0_usize;
        while self.eat_keyword(Keyword::Not) {
            negations += 1;
        }
        let operand = self.atom(inherited)?;
        let operand = self.comparison(operand)?;
        if negations == 0 {
            return Ok(operand);
        }
        let negate = |expr| if negations % 2 == 1 { Expr::Not(Box::new(expr)) } else { expr };
        let span = start..self.previous_end();
        Ok(match operand {
            Operand::Term(expr, qualifiers) => Operand::Term(negate(expr), qualifiers),
            Operand::Ids { expr, .. } => Operand::Ids { expr: negate(expr), parenthesised: false, span },
            Operand::Number(value, at) => {
                let expr = negate(self.primitive(inherited, Id::Number(value), at)?);
                Operand::Ids { expr, parenthesised: false, span }
            }
            Operand::Arith(_) => return Err(self.not_boolean(&operand, inherited)),
        })
    }

    fn atom(&mut self, inherited: Option<Qualifiers>) -> Result<Operand<'a>, FilterError> {
        let span = self.span();
        match self.peek() {
            Kind::Symbol(Symbol::ParenOpen) => self.nested(|parser| parser.parenthesised(inherited)),
            Kind::Number(value) => {
                self.advance();
                Ok(Operand::Number(value, span))
            }
            Kind::Symbol(Symbol::Sub) | Kind::Keyword(Keyword::Len) => self.arith_operand(),
            Kind::Proto(_) if self.peek_after() == Kind::Symbol(Symbol::BracketOpen) => self.arith_operand(),
            Kind::Proto(proto) => {
                self.advance();
                self.qualified(Some(proto), span.start)
            }
            Kind::Keyword(keyword @ (Keyword::Less | Keyword::Greater)) => {
                self.advance();
                self.length_bound(keyword)
            }
            Kind::Keyword(
                keyword @ (Keyword::Vlan
                | Keyword::Mpls
                | Keyword::PppoeSession
                | Keyword::PppoeDiscovery
                | Keyword::Geneve
                | Keyword::Inbound
                | Keyword::Outbound
                | Keyword::IfIndex
                | Keyword::Llc),
            ) => {
                self.advance();
                Ok(Operand::Term(self.alone(keyword, span.start)?, None))
            }
            Kind::Keyword(Keyword::And | Keyword::Or | Keyword::Not | Keyword::Mask | Keyword::Rnr)
            | Kind::Symbol(_)
            | Kind::End => Err(self.unexpected("a primitive such as `tcp`, `host 10.0.0.1` or `port 80`")),
            Kind::Keyword(_) => self.qualified(None, span.start),
            Kind::Name(_) | Kind::Dotted(_) | Kind::Mac(_) | Kind::Ip6(_) => {
                let id = self.id()?;
                let span = span.start..self.previous_end();
                let expr = self.primitive(inherited, id, span.clone())?;
                Ok(Operand::Ids { expr, parenthesised: false, span })
            }
        }
    }

    /// A primitive that takes no qualifiers; its keyword has been read.
    fn alone(&mut self, keyword: Keyword, start: usize) -> Result<Expr<'a>, FilterError> {
        let wrapper = match keyword {
            Keyword::Vlan => Wrapper::Vlan,
            Keyword::Mpls => Wrapper::Mpls,
            Keyword::PppoeSession => Wrapper::PppoeSession,
            Keyword::Geneve => Wrapper::Geneve,
            Keyword::PppoeDiscovery => return Ok(Expr::PppoeDiscovery { span: start..self.previous_end() }),
            Keyword::Llc => {
                let control = self.llc_frames()?;
                return Ok(Expr::Llc { control, span: start..self.previous_end() });
            }
            Keyword::IfIndex => {
                let Kind::Number(index) = self.peek() else {
                    return Err(self.unexpected("the number of an interface"));
                };
                self.advance();
                return Ok(Expr::IfIndex { index, span: start..self.previous_end() });
            }
            _ => {
                let outbound = keyword == Keyword::Outbound;
                return Ok(Expr::Bound { outbound, span: start..self.previous_end() });
            }
        };
        let number = self.optional_number()?;
        Ok(Expr::Within { wrapper, number, span: start..self.previous_end() })
    }

    /// Which frames behind `llc`, if a name follows.
    fn llc_frames(&mut self) -> Result<Option<(u32, u32)>, FilterError> {
        let name = match self.peek() {
            Kind::Name(name) => name,
            Kind::Keyword(Keyword::Rnr) => "rnr",
            _ => return Ok(None),
        };
        let unknown = || {
            let error = FilterError::new(self.span(), format!("`llc` knows no frames called `{name}`"));
            error.hint("they are: i, s, u, rr, rnr, rej, ui, ua, disc, dm, sabme, test, xid, frmr")
        };
        let frames = super::names::llc_frames(name).ok_or_else(unknown)?;
        self.advance();
        Ok(Some(frames))
    }

    /// A number, if one follows; parentheses around it are allowed.
    fn optional_number(&mut self) -> Result<Option<u32>, FilterError> {
        let mut parentheses = 0_usize;
        while self.eat_symbol(Symbol::ParenOpen) {
            parentheses += 1;
        }
        let Kind::Number(number) = self.peek() else {
            return if parentheses == 0 { Ok(None) } else { Err(self.unexpected("a number")) };
        };
        self.advance();
        for _ in 0..parentheses {
            self.expect(Symbol::ParenClose, "`)`")?;
        }
        Ok(Some(number))
    }

    fn arith_operand(&mut self) -> Result<Operand<'a>, FilterError> {
        let start = self.span().start;
        let mut ops = Vec::new();
        self.arith_prefix(&mut ops)?;
        Ok(Operand::Arith(Arith { ops, span: start..self.previous_end() }))
    }

    /// What is between parentheses, and both of them.
    fn parenthesised(&mut self, inherited: Option<Qualifiers>) -> Result<Operand<'a>, FilterError> {
        let open = self.span();
        self.advance();
        let first = self.operand(inherited)?;
        let chained = matches!(self.peek(), Kind::Keyword(Keyword::And | Keyword::Or));
        let operand = match first {
            Operand::Ids { parenthesised: true, span, .. } => {
                let message = "parentheses around a list of identifiers that is in parentheses already";
                return Err(FilterError::new(span, message).hint("remove one pair of parentheses"));
            }
            Operand::Number(..) | Operand::Arith(_) if !chained => first,
            Operand::Arith(_) => return Err(self.not_boolean(&first, inherited)),
            Operand::Number(value, at) => {
                let expr = self.primitive(inherited, Id::Number(value), at)?;
                self.id_list(expr, inherited, open.start)?
            }
            Operand::Ids { expr, .. } => self.id_list(expr, inherited, open.start)?,
            // The parentheses hide the qualifiers inside from the identifier after them.
            Operand::Term(expr, qualifiers) => Operand::Term(self.chain(expr, qualifiers, Members::Any)?, inherited),
        };
        if self.peek() != Kind::Symbol(Symbol::ParenClose) {
            return Err(match self.peek() {
                Kind::End => FilterError::new(open, "this `(` has no `)`"),
                _ => self.unexpected("`)`"),
            });
        }
        self.advance();
        Ok(operand)
    }

    fn id_list(
        &mut self,
        first: Expr<'a>,
        inherited: Option<Qualifiers>,
        start: usize,
    ) -> Result<Operand<'a>, FilterError> {
        let expr = self.chain(first, inherited, Members::Ids)?;
        Ok(Operand::Ids { expr, parenthesised: true, span: start..self.span().end })
    }

    /// Makes a boolean of `operand` if it is arithmetic and a comparison follows.
    fn comparison(&mut self, operand: Operand<'a>) -> Result<Operand<'a>, FilterError> {
        let mut left = match operand {
            Operand::Number(value, ref span) => {
                if binding(self.peek()).is_none() && comparison(self.peek()).is_none() {
                    return Ok(operand);
                }
                Arith { ops: vec![ArithOp::Number(value)], span: span.clone() }
            }
            Operand::Arith(arith) => arith,
            Operand::Ids { .. } | Operand::Term(..) => return Ok(operand),
        };
        self.arith_rest(&mut left.ops, 0)?;
        left.span.end = self.previous_end();
        let Some(comparison) = comparison(self.peek()) else { return Ok(Operand::Arith(left)) };
        self.advance();
        let start = self.span().start;
        let mut ops = Vec::new();
        self.arith(&mut ops, 0)?;
        let right = Arith { ops, span: start..self.previous_end() };
        Ok(Operand::Term(Expr::Relation { left, comparison, right }, None))
    }

    /// `less 60`, `greater 60`.
    fn length_bound(&mut self, keyword: Keyword) -> Result<Operand<'a>, FilterError> {
        let span = self.span();
        let Kind::Number(value) = self.peek() else { return Err(self.unexpected("a number of bytes")) };
        self.advance();
        let comparison = if keyword == Keyword::Less { Comparison::LessEqual } else { Comparison::GreaterEqual };
        let left = Arith { ops: vec![ArithOp::Length], span: span.clone() };
        let right = Arith { ops: vec![ArithOp::Number(value)], span };
        Ok(Operand::Term(Expr::Relation { left, comparison, right }, None))
    }

    /// A primitive that begins with a protocol, a direction or a type; the protocol has been read.
    fn qualified(&mut self, proto: Option<Proto>, start: usize) -> Result<Operand<'a>, FilterError> {
        if self.eat_keyword(Keyword::Broadcast) {
            return Ok(Operand::Term(Expr::Broadcast { proto, span: start..self.previous_end() }, None));
        }
        if self.eat_keyword(Keyword::Multicast) {
            return Ok(Operand::Term(Expr::Multicast { proto, span: start..self.previous_end() }, None));
        }
        let direction = self.direction()?;
        let kind = self.id_kind(direction.is_none());
        if let (Some(proto), None, None) = (proto, direction, kind) {
            return Ok(Operand::Term(Expr::Proto { proto, span: start..self.previous_end() }, None));
        }
        let qualifiers = Qualifiers { proto, direction: direction.unwrap_or(Direction::Either), kind };
        let expr = self.qualified_id(qualifiers)?;
        Ok(Operand::Term(expr, Some(qualifiers)))
    }

    fn direction(&mut self) -> Result<Option<Direction>, FilterError> {
        let (one, other, hint) = match self.peek() {
            Kind::Keyword(Keyword::Src) => (Direction::Src, Keyword::Dst, "`dst`"),
            Kind::Keyword(Keyword::Dst) => (Direction::Dst, Keyword::Src, "`src`"),
            _ => return Ok(None),
        };
        self.advance();
        let Some(logic) = self.logic() else { return Ok(Some(one)) };
        if !self.eat_keyword(other) {
            return Err(self.unexpected(hint));
        }
        Ok(Some(if logic == Logic::And { Direction::Both } else { Direction::Either }))
    }

    fn id_kind(&mut self, proto_allowed: bool) -> Option<IdKind> {
        let kind = match self.peek() {
            Kind::Keyword(Keyword::Host) => IdKind::Host,
            Kind::Keyword(Keyword::Net) => IdKind::Net,
            Kind::Keyword(Keyword::Port) => IdKind::Port,
            Kind::Keyword(Keyword::PortRange) => IdKind::PortRange,
            Kind::Keyword(Keyword::Proto) if proto_allowed => IdKind::Proto,
            Kind::Keyword(Keyword::ProtoChain) if proto_allowed => IdKind::ProtoChain,
            _ => return None,
        };
        self.advance();
        Some(kind)
    }

    /// The identifier, or the list of them in parentheses, after its qualifiers.
    fn qualified_id(&mut self, qualifiers: Qualifiers) -> Result<Expr<'a>, FilterError> {
        let expected = match qualifiers.kind {
            None | Some(IdKind::Host) => "an address",
            Some(IdKind::Net) => "a network such as `10.244.0.0/16`",
            Some(IdKind::Port) => "a port number or name",
            Some(IdKind::PortRange) => "a range of ports such as `8000-8080`",
            Some(IdKind::Proto | IdKind::ProtoChain) => "a protocol number or name",
        };
        let token = self.tokens[self.at].clone();
        if let (Kind::Proto(_), Some(IdKind::Proto | IdKind::ProtoChain)) = (token.kind, qualifiers.kind) {
            let word = &self.text[token.span];
            return Err(self.unexpected(expected).hint(format!("`{word}` is a keyword: write `\\{word}`")));
        }
        let may_begin = match token.kind {
            Kind::Proto(_) | Kind::End => false,
            Kind::Keyword(keyword) => keyword == Keyword::Not,
            Kind::Symbol(symbol) => symbol == Symbol::ParenOpen,
            Kind::Number(_) | Kind::Name(_) | Kind::Dotted(_) | Kind::Mac(_) | Kind::Ip6(_) => true,
        };
        if !may_begin {
            return Err(self.unexpected(expected));
        }
        match self.operand(Some(qualifiers))? {
            Operand::Number(value, span) => self.primitive(Some(qualifiers), Id::Number(value), span),
            Operand::Ids { expr, .. } => Ok(expr),
            Operand::Arith(_) | Operand::Term(..) => {
                let span = token.span.start..self.previous_end();
                let error = FilterError::new(span, format!("expected {expected}, found an expression"));
                Err(match qualifiers.kind {
                    Some(IdKind::Net) => error.hint("a prefix needs at least two numbers: `10.0/8`, not `10/8`"),
                    Some(IdKind::PortRange) => error.hint("a range has no blanks around its `-`"),
                    _ => error,
                })
            }
        }
    }

    /// A name or an address.
    fn id(&mut self) -> Result<Id<'a>, FilterError> {
        let kind = self.peek();
        self.advance();
        Ok(match kind {
            Kind::Name(name) => Id::Name(name),
            Kind::Mac(mac) => Id::Mac(mac),
            Kind::Dotted(address) if self.eat_symbol(Symbol::Div) => Id::Prefix { address, length: self.length()? },
            Kind::Ip6(address) if self.eat_symbol(Symbol::Div) => Id::Prefix6 { address, length: self.length()? },
            Kind::Ip6(address) => Id::Address6(address),
            Kind::Dotted(address) if self.eat_keyword(Keyword::Mask) => {
                let Kind::Dotted(mask) = self.peek() else {
                    return Err(self.unexpected("a netmask such as `255.255.0.0`"));
                };
                self.advance();
                Id::Masked { address, mask }
            }
            Kind::Dotted(address) => Id::Address(address),
            Kind::Number(value) => Id::Number(value),
            Kind::Keyword(_) | Kind::Proto(_) | Kind::Symbol(_) | Kind::End => {
                self.at -= 1;
                return Err(self.unexpected("a name or an address"));
            }
        })
    }

    fn length(&mut self) -> Result<u32, FilterError> {
        let Kind::Number(length) = self.peek() else { return Err(self.unexpected("a prefix length")) };
        self.advance();
        Ok(length)
    }

    fn primitive(
        &self,
        qualifiers: Option<Qualifiers>,
        id: Id<'a>,
        span: Range<usize>,
    ) -> Result<Expr<'a>, FilterError> {
        if let Some(qualifiers) = qualifiers {
            return Ok(Expr::Primitive { qualifiers, id, span });
        }
        let text = &self.text[span.clone()];
        let error = FilterError::new(span, format!("nothing says what `{text}` is"));
        Err(match id {
            Id::Name(name) if name.contains('-') && name.starts_with("len") => {
                error.hint("put blanks around `-`: without them it is part of a name")
            }
            Id::Name(name) if super::names::word(&name.to_ascii_lowercase()).is_some() => {
                error.hint(format!("keywords are in lower case: `{}`", name.to_ascii_lowercase()))
            }
            Id::Number(_) => error.hint(format!("write `port {text}` or `proto {text}`, or compare it with something")),
            Id::Address(_) | Id::Address6(_) | Id::Name(_) => error.hint(format!("write `host {text}`")),
            Id::Prefix { .. } | Id::Prefix6 { .. } | Id::Masked { .. } => error.hint(format!("write `net {text}`")),
            Id::Mac(_) => error.hint(format!("write `ether host {text}`")),
        })
    }

    /// The error for an operand that is neither true nor false.
    fn not_boolean(&self, operand: &Operand<'a>, inherited: Option<Qualifiers>) -> FilterError {
        match operand {
            Operand::Number(value, span) => match self.primitive(inherited, Id::Number(*value), span.clone()) {
                Err(error) => error,
                Ok(_) => self.unexpected("a comparison"),
            },
            Operand::Arith(arith) if self.peek() == Kind::End => {
                let message = "an arithmetic expression is neither true nor false";
                FilterError::new(arith.span.clone(), message).hint("compare it with something, as in `len > 100`")
            }
            Operand::Arith(_) | Operand::Ids { .. } | Operand::Term(..) => self.unexpected("a comparison"),
        }
    }

    /// An arithmetic expression whose operators all bind at least as tightly as `least`.
    fn arith(&mut self, ops: &mut Vec<ArithOp>, least: u8) -> Result<(), FilterError> {
        self.arith_prefix(ops)?;
        self.arith_rest(ops, least)
    }

    fn arith_prefix(&mut self, ops: &mut Vec<ArithOp>) -> Result<(), FilterError> {
        match self.peek() {
            Kind::Number(value) => {
                self.advance();
                ops.push(ArithOp::Number(value));
            }
            Kind::Keyword(Keyword::Len) => {
                self.advance();
                ops.push(ArithOp::Length);
            }
            Kind::Symbol(Symbol::Sub) => {
                self.advance();
                self.nested(|parser| parser.arith(ops, BINDING_NEGATE))?;
                ops.push(ArithOp::Negate);
            }
            Kind::Symbol(Symbol::ParenOpen) => {
                self.advance();
                self.nested(|parser| parser.arith(ops, 0))?;
                self.expect(Symbol::ParenClose, "an operator or `)`")?;
            }
            Kind::Proto(proto) => self.load(ops, proto)?,
            Kind::Name(name) if name.contains('-') => {
                let hint = "put blanks around `-`: without them it is part of a name";
                return Err(self.unexpected("a number, `len` or packet data").hint(hint));
            }
            _ => return Err(self.unexpected("a number, `len` or packet data such as `tcp[13]`")),
        }
        Ok(())
    }

    /// `proto[offset]` or `proto[offset:size]`.
    fn load(&mut self, ops: &mut Vec<ArithOp>, proto: Proto) -> Result<(), FilterError> {
        let start = self.span().start;
        self.advance();
        self.expect(Symbol::BracketOpen, "`[`")?;
        self.nested(|parser| parser.arith(ops, 0))?;
        let mut size = 1;
        if self.eat_symbol(Symbol::Colon) {
            let span = self.span();
            let Kind::Number(value) = self.peek() else { return Err(self.unexpected("a size of 1, 2 or 4")) };
            if !matches!(value, 1 | 2 | 4) {
                return Err(FilterError::new(span, format!("data size {value}: it must be 1, 2 or 4")));
            }
            self.advance();
            size = value;
        }
        self.expect(Symbol::BracketClose, "an operator, `:` or `]`")?;
        ops.push(ArithOp::Load { proto, size, span: start..self.previous_end() });
        Ok(())
    }

    fn arith_rest(&mut self, ops: &mut Vec<ArithOp>, least: u8) -> Result<(), FilterError> {
        while let Some((op, left, right)) = binding(self.peek()) {
            if left < least {
                break;
            }
            self.advance();
            self.nested(|parser| parser.arith(ops, right))?;
            ops.push(ArithOp::Binary(op));
        }
        Ok(())
    }

    fn nested<T>(&mut self, parse: impl FnOnce(&mut Self) -> Result<T, FilterError>) -> Result<T, FilterError> {
        if self.nesting == MAX_NESTING {
            let message = format!("parentheses and operators nest deeper than {MAX_NESTING}");
            return Err(FilterError::new(self.span(), message));
        }
        self.nesting += 1;
        let parsed = parse(self);
        self.nesting -= 1;
        parsed
    }

    fn peek(&self) -> Kind<'a> {
        self.tokens[self.at].kind
    }

    fn peek_after(&self) -> Kind<'a> {
        self.tokens.get(self.at + 1).map_or(Kind::End, |token| token.kind)
    }

    fn span(&self) -> Range<usize> {
        self.tokens[self.at].span.clone()
    }

    fn previous_end(&self) -> usize {
        self.at.checked_sub(1).map_or(0, |previous| self.tokens[previous].span.end)
    }

    /// Steps over the current token; never past the last, which is the end.
    fn advance(&mut self) {
        self.at = (self.at + 1).min(self.tokens.len() - 1);
    }

    fn eat_keyword(&mut self, keyword: Keyword) -> bool {
        let found = self.peek() == Kind::Keyword(keyword);
        if found {
            self.advance();
        }
        found
    }

    fn eat_symbol(&mut self, symbol: Symbol) -> bool {
        let found = self.peek() == Kind::Symbol(symbol);
        if found {
            self.advance();
        }
        found
    }

    fn expect(&mut self, symbol: Symbol, expected: &str) -> Result<(), FilterError> {
        if self.eat_symbol(symbol) { Ok(()) } else { Err(self.unexpected(expected)) }
    }

    fn unexpected(&self, expected: &str) -> FilterError {
        let span = self.span();
        match self.peek() {
            Kind::End => FilterError::new(span, format!("expected {expected}, found the end of the filter")),
            _ => {
                let found = &self.text[span.clone()];
                FilterError::new(span, format!("expected {expected}, found `{found}`"))
            }
        }
    }
}

const BINDING_NEGATE: u8 = 6;
const BINDING_TIGHTEST: u8 = u8::MAX;

/// An operator with how tightly it holds what is left of it, and the least that an operator right of it must hold.
///
/// `%` and `^` have no precedence in libpcap's grammar, so they take the nearest operand on the left and all that
/// follows on the right: `2 * a % 3 + b` is `2 * (a % (3 + b))`.
fn binding(kind: Kind<'_>) -> Option<(AluOp, u8, u8)> {
    let Kind::Symbol(symbol) = kind else { return None };
    let (op, level) = match symbol {
        Symbol::Mod => return Some((AluOp::Mod, BINDING_TIGHTEST, 0)),
        Symbol::Xor => return Some((AluOp::Xor, BINDING_TIGHTEST, 0)),
        Symbol::Or => (AluOp::Or, 1),
        Symbol::And => (AluOp::And, 2),
        Symbol::ShiftLeft => (AluOp::Lsh, 3),
        Symbol::ShiftRight => (AluOp::Rsh, 3),
        Symbol::Add => (AluOp::Add, 4),
        Symbol::Sub => (AluOp::Sub, 4),
        Symbol::Mul => (AluOp::Mul, 5),
        Symbol::Div => (AluOp::Div, 5),
        _ => return None,
    };
    Some((op, level, level + 1))
}

fn comparison(kind: Kind<'_>) -> Option<Comparison> {
    let Kind::Symbol(symbol) = kind else { return None };
    Some(match symbol {
        Symbol::Equal => Comparison::Equal,
        Symbol::NotEqual => Comparison::NotEqual,
        Symbol::Less => Comparison::Less,
        Symbol::LessEqual => Comparison::LessEqual,
        Symbol::Greater => Comparison::Greater,
        Symbol::GreaterEqual => Comparison::GreaterEqual,
        _ => return None,
    })
}
