package core

import (
	"errors"
	"strconv"
	"strings"
)

// Token names one delivery in a reply subject: the slot of its item, the item's
// nonce (slots are used again) and the attempt.
type Token struct {
	slot    int32
	nonce   uint32
	attempt int32
}

// Attempt is the number of the delivery, as Sluice-Attempt has it.
func (t Token) Attempt() int { return int(t.attempt) }

// Reply is the reply subject of the delivery.
func (t Token) Reply(prefix string) string {
	b := make([]byte, 0, 128)
	b = append(b, prefix...)
	b = strconv.AppendInt(b, int64(t.slot), 36)
	b = append(b, '.')
	b = strconv.AppendUint(b, uint64(t.nonce), 36)
	b = append(b, '.')
	return string(strconv.AppendInt(b, int64(t.attempt), 36))
}

var errToken = errors.New("not a delivery token")

// ParseToken reads what Reply put behind the prefix.
func ParseToken(s string) (Token, error) {
	a, rest, ok1 := strings.Cut(s, ".")
	b, c, ok2 := strings.Cut(rest, ".")
	slot, err1 := strconv.ParseInt(a, 36, 32)
	nonce, err2 := strconv.ParseUint(b, 36, 32)
	attempt, err3 := strconv.ParseInt(c, 36, 32)
	if !ok1 || !ok2 || errors.Join(err1, err2, err3) != nil || slot < 0 {
		return Token{}, errToken
	}
	return Token{int32(slot), uint32(nonce), int32(attempt)}, nil
}
