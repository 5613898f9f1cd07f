package main

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"sort"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/urfave/cli/v2"

	"github.com/volsnap/volsnap/config"
	"github.com/volsnap/volsnap/report"
	"github.com/volsnap/volsnap/snapset"
)

// The documents are promises. These tests hold them against the code.

const docsRoot = "../.."

// promised says which section of docs/output.md documents which type that is printed as JSON.
var promised = map[string]any{
	"Manifest": snapset.Manifest{}, "Plan": planJSON{}, "Check": checkJSON{}, "Prune": pruneJSON{}, "Run": report.Run{},
	"Status": statusJSON{}, "Why": whyJSON{}, "Replicate": report.Replication{}, "Verify": report.Verification{}, "Mount": report.Mounting{},
	"Restore": report.Restore{}, "Drill": report.Drill{}, "Guard": guardJSON{}, "Thaw": thawJSON{}, "Retention": verdictJSON{},
}

func TestEveryFieldIsDocumented(t *testing.T) {
	sections := sectionsOf(readDoc(t, "docs/output.md"))
	for section, v := range promised {
		t.Run(section, func(t *testing.T) {
			code := map[string]string{}
			jsonFields(reflect.TypeOf(v), "", code)
			page := map[string]string{}
			for _, row := range tableRows(sections[section]) {
				page[strings.Trim(row[0], "`")] = kindInWords(row)
			}
			if diff := cmp.Diff(page, code); diff != "" {
				t.Errorf("docs/output.md, section %s (-page +code)\n%s", section, diff)
			}
		})
	}
}

// TestNoJSONIsForgotten finds the types of this package that are printed as JSON and that no section documents.
func TestNoJSONIsForgotten(t *testing.T) {
	known := map[string]bool{}
	for _, v := range promised {
		typeNames(reflect.TypeOf(v), known)
	}
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(file, func(n ast.Node) bool {
			if spec, ok := n.(*ast.TypeSpec); ok && hasJSON(spec) && !known[spec.Name.Name] {
				t.Errorf("%s: %s has JSON fields, and no section of docs/output.md is compared with it", name, spec.Name.Name)
			}
			return true
		})
	}
}

func TestMetricsAreDocumented(t *testing.T) {
	var code, page []string
	full := report.Run{App: "a", Set: "a-20261121T020000.123Z", Newest: "a-20261121T020000.123Z"}
	for line := range strings.Lines(report.Metrics([]report.Run{full}, []report.Drill{{App: "a", ReadyMS: 1}})) {
		if rest, ok := strings.CutPrefix(line, "# TYPE "); ok {
			name, _, _ := strings.Cut(rest, " ")
			code = append(code, name)
		}
	}
	for _, row := range tableRows(sectionsOf(readDoc(t, "docs/output.md"))["Metrics"]) {
		page = append(page, strings.Trim(row[0], "`"))
	}
	if diff := cmp.Diff(page, code); diff != "" {
		t.Errorf("docs/output.md, section Metrics (-page +code)\n%s", diff)
	}
}

// TestExitStatusesAreDocumented compares the constants of main.go with both tables.
func TestExitStatusesAreDocumented(t *testing.T) {
	file, err := parser.ParseFile(token.NewFileSet(), "main.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	var code []string
	ast.Inspect(file, func(n ast.Node) bool {
		spec, ok := n.(*ast.ValueSpec)
		if ok && strings.HasPrefix(spec.Names[0].Name, "exit") && len(spec.Values) == 1 {
			if v, ok := spec.Values[0].(*ast.BasicLit); ok {
				code = append(code, v.Value)
			}
		}
		return true
	})
	for _, doc := range []string{"README.md", "docs/output.md"} {
		var page []string
		for _, row := range tableRows(sectionsOf(readDoc(t, doc))["Exit statuses"]) {
			page = append(page, row[0])
		}
		if diff := cmp.Diff(page, code); diff != "" {
			t.Errorf("%s (-page +code)\n%s", doc, diff)
		}
	}
}

var flagPattern = regexp.MustCompile(`--[a-z][a-z-]*`)

// TestCommandsAreDocumented wants a row of the README for every command, with all of its options and no other.
func TestCommandsAreDocumented(t *testing.T) {
	app := testProgram().app()
	page := map[string][]string{}
	for _, row := range tableRows(sectionsOf(readDoc(t, "README.md"))["Commands"]) {
		page[commandName(row[0])] = append([]string{}, flagPattern.FindAllString(row[0], -1)...)
	}
	code := map[string][]string{"global options": flagNames(app.Flags)}
	eachCommand(app.Commands, "", func(name string, c *cli.Command) {
		if !c.Hidden && len(c.Subcommands) == 0 {
			code[name] = flagNames(c.Flags)
		}
	})
	for _, names := range page {
		sort.Strings(names)
	}
	if diff := cmp.Diff(page, code); diff != "" {
		t.Errorf("README.md, section Commands (-page +code)\n%s", diff)
	}
}

// TestExamplesAreAccepted reads every command line and every configuration in the documents as the program would.
func TestExamplesAreAccepted(t *testing.T) {
	commands, configurations := 0, 0
	for _, doc := range documents(t) {
		for _, block := range codeBlocks(readDoc(t, doc)) {
			if block.kind == "yaml" {
				configurations++
				if _, err := config.Parse(doc, []byte(block.text)); err != nil {
					t.Errorf("%s: %v\n%s", doc, err, block.text)
				}
			}
			for line := range strings.Lines(block.text) {
				argv, ok := commandLine(line)
				if !ok || block.kind != "sh" {
					continue
				}
				commands++
				if _, err := arrange(testProgram().app(), argv); err != nil {
					t.Errorf("%s: %s: %v", doc, strings.TrimSpace(line), err)
				}
			}
		}
	}
	if commands < 10 || configurations < 1 {
		t.Errorf("found %d commands and %d configurations: too few to be true", commands, configurations)
	}
}

var (
	linkPattern = regexp.MustCompile(`\]\(([^)#:]+)(#[^)]*)?\)`)
	pathPattern = regexp.MustCompile("`([a-z][a-zA-Z0-9_./@-]*\\.(?:go|md|service|timer|yml|sh))`")
	testPattern = regexp.MustCompile("`(Test[A-Za-z]+)`")
)

// TestWhatDocumentsPointAt finds links, files and tests that are named in documents and are not there.
func TestWhatDocumentsPointAt(t *testing.T) {
	tests := testNames(t)
	for _, doc := range documents(t) {
		text := readDoc(t, doc)
		for _, m := range linkPattern.FindAllStringSubmatch(text, -1) {
			if _, err := os.Stat(filepath.Join(docsRoot, filepath.Dir(doc), m[1])); err != nil {
				t.Errorf("%s: %v", doc, err)
			}
		}
		for _, m := range pathPattern.FindAllStringSubmatch(text, -1) {
			if strings.Contains(m[1], "/") && !exists(m[1]) && !exists(filepath.Join(filepath.Dir(doc), m[1])) {
				t.Errorf("%s: there is no %s", doc, m[1])
			}
		}
		for _, m := range testPattern.FindAllStringSubmatch(text, -1) {
			if !tests[m[1]] {
				t.Errorf("%s: there is no %s", doc, m[1])
			}
		}
	}
}

func TestDesignIsShort(t *testing.T) {
	if n := strings.Count(readDoc(t, "docs/design.md"), "\n"); n >= 300 {
		t.Errorf("docs/design.md has %d lines, and is to have fewer than 300", n)
	}
}
