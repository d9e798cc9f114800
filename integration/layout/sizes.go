package layout

import (
	"fmt"
	"go/ast"
	"go/token"
)

// The sizes beyond which code is hard to read at once.
const (
	MaxFields     = 20 // the fields of a struct in pkg and services
	MaxFuncLines  = 50 // the lines of a function, from its signature to its last brace
	MaxParameters = 5  // the parameters of a function
)

// exempt names what may be larger than the limits, and why.
func exempt() map[string]string {
	const mirrors = "mirrors the contract"
	return map[string]string{
		"pkg/wire.Issues: fields":     mirrors,
		"pkg/wire.PoolStatus: fields": mirrors,
	}
}

// Excess is one thing that is larger than it may be.
type Excess struct {
	What  string // the name that exempt has for it
	Fault string // what is wrong, for people
}

// CheckSizes returns what is too large in a file of the package dir that is no
// test.
func CheckSizes(dir string, set *token.FileSet, file *ast.File) []Excess {
	var found []Excess
	add := func(name, kind, format string, args ...any) {
		name = dir + "." + name
		found = append(found, Excess{What: name + ": " + kind, Fault: name + " " + fmt.Sprintf(format, args...)})
	}
	for _, d := range file.Decls {
		switch d := d.(type) {
		case *ast.FuncDecl:
			name := receiver(d) + d.Name.Name
			lines := set.Position(d.End()).Line - set.Position(d.Pos()).Line + 1
			if lines > MaxFuncLines {
				add(name, "lines", "has %d lines: split it, %d are enough", lines, MaxFuncLines)
			}
			if n := count(d.Type.Params); n > MaxParameters {
				add(name, "parameters", "has %d parameters: make a struct of some, %d are enough", n, MaxParameters)
			}
		case *ast.GenDecl:
			for _, spec := range d.Specs {
				t, ok := spec.(*ast.TypeSpec)
				if !ok {
					continue
				}
				s, ok := t.Type.(*ast.StructType)
				if !ok {
					continue
				}
				n := count(s.Fields)
				if n > MaxFields && (under(dir, "pkg") || under(dir, "services")) {
					add(t.Name.Name, "fields", "has %d fields: part it, %d are enough", n, MaxFields)
				}
				if holdsContext(s) {
					add(t.Name.Name, "context", "keeps a context: hand it to the functions that need it")
				}
			}
		}
	}
	return found
}

// receiver is the name of the type whose method d is, with a dot.
func receiver(d *ast.FuncDecl) string {
	if d.Recv == nil || len(d.Recv.List) == 0 {
		return ""
	}
	t := d.Recv.List[0].Type
	if star, ok := t.(*ast.StarExpr); ok {
		t = star.X
	}
	if generic, ok := t.(*ast.IndexExpr); ok {
		t = generic.X
	}
	if name, ok := t.(*ast.Ident); ok {
		return name.Name + "."
	}
	return ""
}

// count is how many names a list of fields or parameters declares. What has no
// name counts as one.
func count(list *ast.FieldList) int {
	n := 0
	for _, f := range list.List {
		n += max(1, len(f.Names))
	}
	return n
}

// holdsContext reports whether a struct has a field of type context.Context.
func holdsContext(s *ast.StructType) bool {
	for _, f := range s.Fields.List {
		if sel, ok := f.Type.(*ast.SelectorExpr); ok && sel.Sel.Name == "Context" {
			if pkg, ok := sel.X.(*ast.Ident); ok && pkg.Name == "context" {
				return true
			}
		}
	}
	return false
}
