package service

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"reflect"
	"strings"
	"time"

	"github.com/caarlos0/env/v11"
)

// Env is an environment: what a service is configured by. A variable that is
// set but empty counts as not set.
type Env map[string]string

// Environ returns a copy of the process's environment.
func Environ() Env {
	e := make(Env)
	for _, pair := range os.Environ() {
		if name, value, ok := strings.Cut(pair, "="); ok {
			e[name] = value
		}
	}
	return e
}

// With returns a copy of e with name set to value.
func (e Env) With(name, value string) Env {
	out := make(Env, len(e)+1)
	maps.Copy(out, e)
	out[name] = value
	return out
}

// Without returns a copy of e that lacks names.
func (e Env) Without(names ...string) Env {
	out := maps.Clone(e)
	for _, name := range names {
		delete(out, name)
	}
	return out
}

// Parse fills the struct that into points to from env, by the tags of its
// fields and of the structs in it:
//
//	SessionTTL time.Duration `env:"SLUICE_SESSION_TTL" envDefault:"10s" desc:"shown by --help"`
//
// Then it calls into's Validate() error, if it has one. The error holds
// everything that is wrong, one fault a line, each that can be put
// down to a variable with its name.
func Parse(e Env, into any) error {
	vars, err := variables(into)
	if err != nil {
		return err
	}
	errs, rest := readable(e, into, vars)
	if err := env.ParseWithOptions(into, env.Options{Environment: rest}); err != nil {
		var all env.AggregateError
		if errors.As(err, &all) {
			errs = append(errs, all.Errors...)
		} else {
			errs = append(errs, err)
		}
	}
	if v, ok := into.(interface{ Validate() error }); ok {
		errs = append(errs, v.Validate())
	}
	return errors.Join(errs...)
}

// readable tries each variable that is set by itself, since the env package
// names fields and not variables in its errors. It returns the faults, and e
// without the faulty ones, so that with their defaults in their place the
// rest can be read and validated.
func readable(e Env, into any, vars []variable) (faults []error, rest Env) {
	rest = make(Env, len(e)) // never nil: the env package would read the process's
	maps.Copy(rest, e)
	for _, v := range vars {
		value := e[v.name]
		if value == "" {
			continue
		}
		scratch := reflect.New(reflect.TypeOf(into).Elem()).Interface()
		err := env.ParseWithOptions(scratch, env.Options{Environment: Env{v.name: value}})
		var pe env.ParseError
		if errors.As(err, &pe) {
			delete(rest, v.name)
			faults = append(faults, fmt.Errorf("%s: %q: %w", v.name, value, &wantError{v.typ, pe.Err}))
		}
	}
	return faults, rest
}

// wantError says what a value of a type looks like.
type wantError struct {
	typ reflect.Type
	err error
}

func (e *wantError) Unwrap() error { return e.err }

func (e *wantError) Error() string {
	if e.typ == reflect.TypeFor[time.Duration]() {
		return "want a duration such as 500ms or 1m30s"
	}
	switch e.typ.Kind() {
	case reflect.Bool:
		return "want true or false"
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		return "want a whole number"
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return "want a whole number from 0"
	case reflect.Float32, reflect.Float64:
		return "want a number"
	default:
		return e.err.Error()
	}
}

// variable is one environment variable.
type variable struct {
	name, standard, description string // standard is its default
	typ                         reflect.Type
}

// variables lists the variables that a struct of into's type is read from, in
// the order of its fields.
func variables(into any) ([]variable, error) {
	t := reflect.TypeOf(into)
	if t == nil || t.Kind() != reflect.Pointer || t.Elem().Kind() != reflect.Struct {
		return nil, fmt.Errorf("parse environment into %T: want a pointer to a struct", into)
	}
	return appendVariables(nil, t.Elem(), ""), nil
}

func appendVariables(vars []variable, t reflect.Type, prefix string) []variable {
	for field := range t.Fields() {
		name, _, _ := strings.Cut(field.Tag.Get("env"), ",")
		switch {
		case name != "" && name != "-":
			vars = append(vars, variable{prefix + name, field.Tag.Get("envDefault"), field.Tag.Get("desc"), field.Type})
		case field.Type.Kind() == reflect.Struct:
			vars = appendVariables(vars, field.Type, prefix+field.Tag.Get("envPrefix"))
		}
	}
	return vars
}
