package apiserver

import (
	"fmt"

	"github.com/labstack/echo/v4"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/petrelrun/petrel/controlplane/resource"
	"github.com/petrelrun/petrel/controlplane/store"
)

var tableGVK = metav1.SchemeGroupVersion.WithKind(asTable)

// tables prints objects as rows with the columns of their kind.
type tables struct {
	d       *resource.Definition
	include metav1.IncludeObjectPolicy
	columns []metav1.TableColumnDefinition
}

func newTables(c echo.Context, d *resource.Definition) (*tables, error) {
	t := &tables{d: d, include: metav1.IncludeObjectPolicy(c.QueryParam("includeObject"))}
	switch t.include {
	case "":
		t.include = metav1.IncludeMetadata
	case metav1.IncludeNone, metav1.IncludeMetadata, metav1.IncludeObject:
	default:
		return nil, apierrors.NewBadRequest(fmt.Sprintf("includeObject %q: must be None, Metadata or Object", t.include))
	}
	var err error
	if t.columns, err = d.Rules.Columns(); err != nil {
		return nil, fmt.Errorf("find columns of %s: %w", d.GVK.Kind, err)
	}
	return t, nil
}

func (t *tables) empty() *metav1.Table {
	table := &metav1.Table{ColumnDefinitions: t.columns, Rows: []metav1.TableRow{}}
	table.SetGroupVersionKind(tableGVK)
	return table
}

// of is the table of one object.
func (t *tables) of(obj runtime.Object) (*metav1.Table, error) {
	table := t.empty()
	row, err := t.row(obj)
	if err != nil {
		return nil, err
	}
	table.Rows = append(table.Rows, row)
	m, err := meta.Accessor(obj)
	if err != nil {
		return nil, err
	}
	table.ResourceVersion = m.GetResourceVersion()
	return table, nil
}

// list is the table of a page.
func (t *tables) list(page *store.List) (*metav1.Table, error) {
	table := t.empty()
	table.ListMeta = listMeta(page)
	table.Rows = make([]metav1.TableRow, 0, len(page.Entries))
	for _, e := range page.Entries {
		row, err := t.row(e.Object())
		if err != nil {
			return nil, err
		}
		table.Rows = append(table.Rows, row)
	}
	return table, nil
}

func (t *tables) row(obj runtime.Object) (metav1.TableRow, error) {
	cells, conditions, err := t.d.Rules.Cells(obj)
	if err != nil {
		return metav1.TableRow{}, err
	}
	row := metav1.TableRow{Cells: cells, Conditions: conditions}
	switch t.include {
	case metav1.IncludeObject:
		row.Object.Object = obj
	case metav1.IncludeMetadata:
		p, err := partial(obj)
		if err != nil {
			return metav1.TableRow{}, err
		}
		row.Object.Object = p
	}
	return row, nil
}
