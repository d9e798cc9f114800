package strictjson

import (
	"strings"

	"github.com/sluicehq/sluice/pkg/wire"
)

// Refusal returns the error of a request that has these faults, nil where there
// are none. Each fault has the code of its kind. Where all are of one kind the
// error has that code and the faults need none; else it is CodeBadField, and
// each fault keeps its own.
func Refusal(faults []wire.Fault) *wire.Error {
	if len(faults) == 0 {
		return nil
	}
	code := faults[0].ErrCode
	for _, f := range faults[1:] {
		if f.ErrCode != code {
			e := wire.Errorf(wire.CodeBadField, "the request has wrong fields: %s", fieldNames(faults))
			e.Details = faults
			return e
		}
	}
	details := make([]wire.Fault, len(faults))
	for i, f := range faults {
		f.ErrCode = 0
		details[i] = f
	}
	var e *wire.Error
	switch code {
	case wire.CodeBadField:
		e = wire.Errorf(code, "the request has wrong fields: %s", fieldNames(faults))
	case wire.CodeBadDelivery:
		e = wire.Errorf(code, "the delivery subject is not allowed: %s", faults[0].Reason)
	default:
		e = wire.Errorf(code, "%s", faults[0].Reason)
	}
	e.Details = details
	return e
}

// RefusalWith returns the error that has the faults of e and more.
func RefusalWith(e *wire.Error, more []wire.Fault) *wire.Error {
	var all []wire.Fault
	for _, f := range e.Details {
		if f.ErrCode == 0 {
			f.ErrCode = e.ErrCode
		}
		all = append(all, f)
	}
	return Refusal(append(all, more...))
}

// fieldNames lists the first few fields, for descriptions that stay short
// enough for a header.
func fieldNames(faults []wire.Fault) string {
	const most = 5
	var names []string
	for i, x := range faults {
		if i == most {
			names = append(names, "…")
			break
		}
		if x.Field == "" {
			x.Field = "the body"
		}
		names = append(names, x.Field)
	}
	return strings.Join(names, ", ")
}
