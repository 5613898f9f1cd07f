package main

import (
	"bytes"
	"fmt"
	"os"
	"slices"
	"strings"
	"text/template"

	"github.com/urfave/cli/v2"

	"github.com/volsnap/volsnap/config"
	"github.com/volsnap/volsnap/driver"
	"github.com/volsnap/volsnap/internal/docker"
	"github.com/volsnap/volsnap/inventory"
)

func (p *program) initCommand() *cli.Command {
	return &cli.Command{
		Name: "init", Usage: "look at the running Docker and print a commented configuration for it",
		Description: "Writes to stdout and nowhere else: volsnap init > /etc/volsnap/volsnap.yaml",
		Flags:       []cli.Flag{&cli.StringFlag{Name: "project", Usage: "only this Compose `PROJECT`"}},
		Action:      p.init,
	}
}

func (p *program) init(c *cli.Context) error {
	if err := noArguments(c); err != nil {
		return err
	}
	d, err := docker.New("")
	if err != nil {
		return usageError{err}
	}
	projects, err := inventory.Projects(c.Context, d)
	if err != nil {
		return err
	}
	chosen, err := chooseProjects(projects, c.String("project"), c.IsSet("project"))
	if err != nil {
		return err
	}
	out, err := starter(chosen)
	if err != nil {
		return err
	}
	return p.printf("%s", out)
}

// chooseProjects leaves out what has nothing to snapshot, unless it was asked for by name.
func chooseProjects(all []inventory.Project, name string, named bool) ([]inventory.Project, error) {
	var chosen []inventory.Project
	var known []string
	for _, project := range all {
		if project.Name == "" {
			continue
		}
		known = append(known, project.Name)
		if named && project.Name == name || !named && (len(project.Volumes) > 0 || len(writtenBinds(project)) > 0) {
			chosen = append(chosen, project)
		}
	}
	if named && len(chosen) == 0 {
		return nil, usagef("no containers of a Compose project %q are running; running projects: %s", name, strings.Join(known, ", "))
	}
	if len(chosen) == 0 {
		return nil, fmt.Errorf("no running Compose project has volumes; start yours, or write the configuration by hand (docs/configuration.md)")
	}
	return chosen, nil
}

// starterApp is what the template shows of one project.
type starterApp struct {
	Name, Project string
	Databases     []database
	Databased     []inventory.ProjectVolume // volumes that a database writes to: they come first
	Others        []inventory.ProjectVolume
	Unusable      []inventory.ProjectVolume
	Paths         []string
}

type database struct{ Container, User, Database string }

// First is the names of the volumes that the others must not be older than.
func (a starterApp) First() string {
	var names []string
	for _, v := range a.Databased {
		names = append(names, quoteYAML(v.Name))
	}
	return strings.Join(names, ", ")
}

func newStarterApp(project inventory.Project) starterApp {
	a := starterApp{Name: appName(project.Name), Project: project.Name}
	servers := map[string]bool{}
	for _, s := range project.Services {
		if s.Postgres == nil {
			continue
		}
		servers[s.Name] = true
		for _, c := range s.Containers {
			a.Databases = append(a.Databases, database{c, s.Postgres.User, s.Postgres.Database})
		}
	}
	for _, v := range project.Volumes {
		switch {
		case v.HostPath == "":
			a.Unusable = append(a.Unusable, v)
		case slices.ContainsFunc(v.Writers, func(s string) bool { return servers[s] }):
			a.Databased = append(a.Databased, v)
		default:
			a.Others = append(a.Others, v)
		}
	}
	a.Paths = binds(project)
	return a
}

// appName makes a Compose project's name fit for an app.
func appName(project string) string {
	name := strings.Trim(strings.ReplaceAll(strings.ToLower(project), "_", "-"), "-")
	name = strings.Trim(name[:min(len(name), 32)], "-")
	if !driver.ValidApp(name) {
		return "app"
	}
	return name
}

// binds are the host paths that containers of the project have mounted, but for those of the system.
func binds(project inventory.Project) []string {
	var paths []string
	for _, b := range project.Binds {
		if isData(b.HostPath) {
			paths = append(paths, b.HostPath)
		}
	}
	return paths
}

func writtenBinds(project inventory.Project) []string {
	var paths []string
	for _, b := range project.Binds {
		if len(b.Writers) > 0 && isData(b.HostPath) {
			paths = append(paths, b.HostPath)
		}
	}
	return paths
}

func isData(path string) bool {
	for _, system := range []string{"/usr", "/bin", "/sbin", "/lib", "/lib64", "/etc", "/run", "/var/run", "/proc", "/sys", "/dev", "/boot"} {
		if path == "/" || path == system || strings.HasPrefix(path, system+"/") {
			return false
		}
	}
	info, err := os.Stat(path)
	return err == nil && (info.IsDir() || info.Mode().IsRegular())
}

var starterTemplate = template.Must(template.New("starter").Funcs(template.FuncMap{"quote": quoteYAML, "text": text}).Parse(`# volsnap configuration, made by looking at what runs. Read it, correct it, then: volsnap check
version: 1
# metrics: /var/lib/prometheus/node-exporter/volsnap.prom

apps:
{{- range .}}
  {{.Name}}:
    project: {{quote .Project}}
    volumes:{{if .Databased}}            # databases first: this is the order where one instant is not possible{{end}}
{{- range .Databased}}
      - volume: {{quote .Name}}
{{- end}}
{{- $first := .First}}
{{- range .Others}}
      - volume: {{quote .Name}}
{{- if $first}}
        not_older_than: [{{$first}}]
{{- end}}
{{- end}}
{{- range .Paths}}
      - path: {{quote .}}          # bind-mounted; take it out if it can be made again
{{- end}}
{{- range .Unusable}}
      # left out: {{text .Name}}: {{text .Problem}}
{{- end}}
    freeze:
      limit: 10s               # the longest pause; past it the set is given up and all is thawed
      steps:
{{- range .Databases}}
        - postgres: {container: {{quote .Container}}, user: {{quote .User}}, database: {{quote .Database}}}   # CHECKPOINT
{{- end}}
        - pause: {}            # all running containers that can write to the volumes
    keep: {last: 2, daily: 7, weekly: 4, monthly: 12}
{{- end}}
`))

// quoteYAML quotes what is not plainly a word.
func quoteYAML(s string) string {
	plain := strings.IndexFunc(s, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && !strings.ContainsRune("0123456789._/-", r)
	}) < 0
	if plain && strings.IndexFunc(s, func(r rune) bool { return r >= 'a' && r <= 'z' }) == 0 && !slices.Contains([]string{"true", "false", "null", "yes", "no", "on", "off", "y", "n"}, s) || plain && strings.HasPrefix(s, "/") {
		return s
	}
	return fmt.Sprintf("%q", s)
}

// starter renders the configuration, and reads it back: what init prints is never refused by the next command.
func starter(projects []inventory.Project) (string, error) {
	var apps []starterApp
	for _, project := range projects {
		apps = append(apps, newStarterApp(project))
	}
	var b bytes.Buffer
	if err := starterTemplate.Execute(&b, apps); err != nil {
		return "", err
	}
	if _, err := config.Parse("the configuration made by init", b.Bytes()); err != nil {
		return "", fmt.Errorf("%w\nwrite it by hand (docs/configuration.md)", err)
	}
	return b.String(), nil
}
