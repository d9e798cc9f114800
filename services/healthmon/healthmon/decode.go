package healthmon

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/sluicehq/sluice/pkg/wire"
	"github.com/sluicehq/sluice/services/healthmon/internal/check"
)

const (
	nameWanted  = "want 1 to 64 characters of A-Z, a-z, 0-9, _ and -"
	storeWanted = "want the name of a store"
	maxStore    = 255
)

// decodeObject reads the body of a request, an object or nothing, into the
// given fields, and reports every fault at once: those of the body, and those
// that more finds in fields that could be read.
func decodeObject(body []byte, fields map[string]any, more func() []wire.Fault) *wire.Error {
	members := map[string]json.RawMessage{}
	if len(bytes.TrimSpace(body)) > 0 {
		if e := decodeMembers(body, &members); e != nil {
			return e
		}
	}
	var faults []wire.Fault
	for name, raw := range members {
		into, ok := fields[name]
		if !ok {
			faults = append(faults, wire.Fault{Field: name, Reason: "unknown field"})
			continue
		}
		var wrong *json.UnmarshalTypeError
		switch err := json.Unmarshal(raw, into); {
		case string(raw) == "null":
			faults = append(faults, wire.Fault{Field: name, Reason: "must not be null"})
		case errors.As(err, &wrong):
			faults = append(faults, wire.Fault{Field: name, Reason: fmt.Sprintf("want a %s, got a %s", jsonName(wrong.Type.String()), wrong.Value)})
		case err != nil:
			faults = append(faults, wire.Fault{Field: name, Reason: err.Error()})
		}
	}
	if more != nil {
		for _, f := range more() {
			if !slices.ContainsFunc(faults, func(g wire.Fault) bool { return g.Field == f.Field }) {
				faults = append(faults, f)
			}
		}
	}
	if len(faults) == 0 {
		return nil
	}
	return badFields(faults...)
}

func jsonName(goType string) string {
	if goType == "bool" {
		return "true or false"
	}
	return goType
}

// decodeMembers reads one object and nothing behind it.
func decodeMembers(body []byte, members *map[string]json.RawMessage) *wire.Error {
	dec := json.NewDecoder(bytes.NewReader(body))
	err := dec.Decode(members)
	offset := dec.InputOffset()
	if err == nil && *members == nil {
		err = errors.New("want an object, got null")
	}
	if err == nil {
		if _, trailing := dec.Token(); trailing != io.EOF {
			err = errors.New("there is something behind the object")
		}
	}
	var syntax *json.SyntaxError
	var wrong *json.UnmarshalTypeError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &syntax):
		offset = syntax.Offset
	case errors.As(err, &wrong):
		offset, err = wrong.Offset, fmt.Errorf("want an object, got %s", wrong.Value)
	}
	reason := fmt.Sprintf("%s, at byte %d", strings.TrimSuffix(err.Error(), "."), offset)
	e := wire.Errorf(wire.CodeBadJSON, "the body is not the JSON asked for: %s", reason)
	e.Details = []wire.Fault{{Reason: reason}}
	return e
}

func badFields(faults ...wire.Fault) *wire.Error {
	slices.SortFunc(faults, func(a, b wire.Fault) int { return cmp.Compare(a.Field, b.Field) })
	names := make([]string, 0, len(faults))
	for _, f := range faults {
		names = append(names, f.Field)
	}
	const most = 5 // so that the description stays short enough for a header
	if len(names) > most {
		names = append(names[:most], "…")
	}
	e := wire.Errorf(wire.CodeBadField, "the request has wrong fields: %s", strings.Join(names, ", "))
	e.Details = faults
	return e
}

// repairFaults says what is wrong with a request for a repair.
func repairFaults(r wire.RepairRequest) []wire.Fault {
	var faults []wire.Fault
	if !slices.Contains(check.Kinds(), r.Kind) {
		faults = append(faults, wire.Fault{Field: "kind", Reason: "want one of " + strings.Join(check.Kinds(), ", ")})
	}
	switch {
	case r.Kind == wire.IssueLostStore:
		if r.Name == "" || len(r.Name) > maxStore || strings.ContainsAny(r.Name, " \t\r\n.*>/\\") {
			faults = append(faults, wire.Fault{Field: "name", Reason: storeWanted})
		}
	case !wire.ValidName(r.Name):
		faults = append(faults, wire.Fault{Field: "name", Reason: nameWanted})
	}
	return faults
}
