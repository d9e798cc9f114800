package evaluator

import (
	"encoding/json"
	"fmt"
	"slices"
)

// checkObject refuses what is not in the language, so that a mistake in a
// test's pattern is not taken for an event that does not match.
func checkObject(fields map[string]any) error {
	for name, want := range fields {
		if err := checkField(name, want); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return nil
}

func checkField(name string, want any) error {
	switch want := want.(type) {
	case map[string]any:
		return checkObject(want)
	case []any:
		for _, alternative := range want {
			if err := checkAlternative(name, alternative); err != nil {
				return err
			}
		}
	}
	return nil
}

func checkAlternative(name string, alternative any) error {
	o, isObject := alternative.(map[string]any)
	switch {
	case name == "$or" && isObject:
		return checkObject(o)
	case name == "$or":
		return fmt.Errorf("%v is no pattern", alternative)
	case isObject:
		return checkOperator(o)
	case isList(alternative):
		return fmt.Errorf("%v: a list among alternatives", alternative)
	}
	return nil
}

func checkOperator(o map[string]any) error {
	if len(o) != 1 {
		return fmt.Errorf("%v: want one operator", o)
	}
	op, operand, _ := operator(o)
	ok := false
	switch op {
	case "exists":
		_, ok = operand.(bool)
	case "prefix", "suffix", "equals-ignore-case", "wildcard":
		_, ok = operand.(string)
	case "anything-but":
		ok = checkExcluded(operand)
	case "numeric":
		ok = checkComparisons(operand)
	}
	if !ok {
		return fmt.Errorf("%v is no operator", o)
	}
	return nil
}

func checkExcluded(operand any) bool {
	switch operand := operand.(type) {
	case map[string]any:
		op, text, _ := operator(operand)
		_, isText := text.(string)
		return len(operand) == 1 && isText && (op == "prefix" || op == "suffix")
	case []any:
		return !slices.ContainsFunc(operand, func(v any) bool {
			_, isObject := v.(map[string]any)
			return isObject || isList(v)
		})
	}
	return true
}

func checkComparisons(operand any) bool {
	pairs, isList := operand.([]any)
	if !isList || len(pairs) == 0 || len(pairs)%2 != 0 {
		return false
	}
	for i := 0; i < len(pairs); i += 2 {
		comparison, _ := pairs[i].(string)
		_, isNumber := pairs[i+1].(json.Number)
		if !isNumber || !slices.Contains([]string{"<", "<=", "=", ">=", ">"}, comparison) {
			return false
		}
	}
	return true
}

func isList(v any) bool {
	_, ok := v.([]any)
	return ok
}
