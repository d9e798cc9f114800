package pattern

import (
	"cmp"
	"strconv"
	"strings"
)

// number is a JSON number as 0.d₁d₂… × 10^exp with d₁ ≠ 0, so that two
// numbers are equal exactly when their parts are. The digits stay where they
// are in the literal: nothing is expanded, so 1e999999999 costs as much as 1.
type number struct {
	neg  bool
	a, b string // the digits are a followed by b; both empty is zero
	exp  exponent
}

// exponent is an integer of any size. Wide holds the decimal digits when the
// value does not fit small; then small is only its sign.
type exponent struct {
	small int64
	wide  string
}

// smallDigits is how many digits of an exponent are read as an int64: with
// 18, adding the length of a literal cannot overflow.
const smallDigits = 18

// parseNumber reads a literal that the scanner has accepted.
func parseNumber(lit string) number {
	var n number
	n.neg = strings.HasPrefix(lit, "-")
	lit = strings.TrimPrefix(lit, "-")
	power := ""
	if i := strings.IndexAny(lit, "eE"); i >= 0 {
		lit, power = lit[:i], lit[i+1:]
	}
	n.a, n.b, _ = strings.Cut(lit, ".")
	shift := n.trim()
	if n.zero() {
		return number{}
	}
	n.exp = parseExponent(power, shift)
	return n
}

// trim drops the zeros at both ends and returns where the point stands
// relative to the first digit that is left.
func (n *number) trim() (shift int64) {
	n.a = strings.TrimLeft(n.a, "0")
	shift = int64(len(n.a))
	if n.a == "" {
		short := strings.TrimLeft(n.b, "0")
		shift = -int64(len(n.b) - len(short))
		n.b = short
	}
	n.b = strings.TrimRight(n.b, "0")
	if n.b == "" {
		n.a = strings.TrimRight(n.a, "0")
	}
	return shift
}

// size is about how many bytes a comparison looks at.
func (n number) size() int { return len(n.a) + len(n.b) + len(n.exp.wide) }

func (n number) zero() bool { return n.a == "" && n.b == "" }

// compare returns -1, 0 or 1 as n is below, equal to or above m.
func (n number) compare(m number) int {
	if s := cmp.Compare(n.sign(), m.sign()); s != 0 || n.zero() {
		return s
	}
	c := n.exp.compare(m.exp)
	if c == 0 {
		c = compareDigits(n, m)
	}
	if n.neg {
		return -c
	}
	return c
}

func (n number) sign() int {
	switch {
	case n.zero():
		return 0
	case n.neg:
		return -1
	}
	return 1
}

// compareDigits compares two digit sequences as fractions, piece by piece,
// because the point may split them at different places.
func compareDigits(n, m number) int {
	a, b := n.a, m.a
	na, nb := n.b, m.b
	for {
		k := min(len(a), len(b))
		if c := cmp.Compare(a[:k], b[:k]); c != 0 {
			return c
		}
		a, b = a[k:], b[k:]
		if a == "" {
			a, na = na, ""
		}
		if b == "" {
			b, nb = nb, ""
		}
		if a == "" || b == "" {
			return cmp.Compare(len(a), len(b))
		}
	}
}

// appendKey appends a text that is the same for equal numbers only.
func (n number) appendKey(buf []byte) []byte {
	if n.neg {
		buf = append(buf, '-')
	}
	buf = append(buf, n.a...)
	buf = append(buf, n.b...)
	buf = append(buf, 'e')
	return n.exp.appendKey(buf)
}

// parseExponent adds shift to the exponent of a literal.
func parseExponent(text string, shift int64) exponent {
	neg := strings.HasPrefix(text, "-")
	digits := strings.TrimLeft(strings.TrimLeft(text, "+-"), "0")
	if len(digits) <= smallDigits {
		var v int64
		for _, d := range []byte(digits) {
			v = v*10 + int64(d-'0')
		}
		if neg {
			v = -v
		}
		return exponent{small: v + shift}
	}
	if neg {
		return normal(addDecimal(digits, -shift), true)
	}
	return normal(addDecimal(digits, shift), false)
}

// normal returns digits as an exponent, small if it fits: shifting may have
// brought a wide one back into the range of small ones, and a value must have
// one form only. What parseExponent calls small may reach a little over 18
// digits, so everything that an int64 holds is small.
func normal(digits string, neg bool) exponent {
	sign := int64(1)
	if neg {
		sign = -1
	}
	if v, err := strconv.ParseInt(digits, 10, 64); err == nil {
		return exponent{small: sign * v}
	}
	return exponent{small: sign, wide: digits}
}

func (e exponent) compare(f exponent) int {
	if e.wide == "" && f.wide == "" {
		return cmp.Compare(e.small, f.small)
	}
	if e.wide == "" {
		return -int(f.small) // wide ones lie beyond every small one
	}
	if f.wide == "" {
		return int(e.small)
	}
	c := cmp.Or(cmp.Compare(e.small, f.small), cmp.Compare(len(e.wide), len(f.wide))*int(e.small))
	return cmp.Or(c, cmp.Compare(e.wide, f.wide)*int(e.small))
}

func (e exponent) appendKey(buf []byte) []byte {
	if e.wide == "" {
		return strconv.AppendInt(buf, e.small, 10)
	}
	if e.small < 0 {
		buf = append(buf, '-')
	}
	return append(buf, e.wide...)
}

// addDecimal adds a small delta to a positive decimal of more than 18 digits,
// digit by digit: the cost is its length, which no big integer promises.
func addDecimal(digits string, delta int64) string {
	out := []byte(digits)
	carry := delta
	for i := len(out) - 1; i >= 0 && carry != 0; i-- {
		v := int64(out[i]-'0') + carry
		carry = v / 10
		if v %= 10; v < 0 {
			v += 10
			carry--
		}
		out[i] = byte('0' + v)
	}
	text := strings.TrimLeft(string(out), "0")
	if carry > 0 {
		text = strconv.FormatInt(carry, 10) + string(out)
	}
	return text
}
