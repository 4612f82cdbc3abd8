package upstream

import (
	"fmt"
	"sync"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/kubernetes/pkg/printers"
	printersinternal "k8s.io/kubernetes/pkg/printers/internalversion"
)

// columns are a kind's column definitions, found on first use.
type columns struct {
	once sync.Once
	defs []metav1.TableColumnDefinition
	err  error
}

// The generator is only read once it is filled.
var generator = sync.OnceValue(func() *printers.HumanReadableGenerator {
	return printers.NewTableGenerator().With(printersinternal.AddHandlers)
})

// Columns are what `kubectl get` shows of the kind; those with a priority above 0 only when asked for.
func (k *Kind) Columns() ([]metav1.TableColumnDefinition, error) {
	k.columns.once.Do(func() {
		// An empty list has the definitions and no row to print.
		list, err := Scheme().New(schema.GroupVersionKind{Group: k.gvk.Group, Version: runtime.APIVersionInternal, Kind: k.gvk.Kind + "List"})
		if err != nil {
			k.columns.err = err
			return
		}
		table, err := generator().GenerateTable(list, printers.GenerateOptions{Wide: true})
		if err != nil {
			k.columns.err = err
			return
		}
		k.columns.defs = table.ColumnDefinitions
	})
	return k.columns.defs, k.columns.err
}

// Cells prints one object's row. It does not change obj.
func (k *Kind) Cells(obj runtime.Object) ([]any, []metav1.TableRowCondition, error) {
	internal, err := toInternal(obj, k.gvk.Group)
	if err != nil {
		return nil, nil, fmt.Errorf("convert %s: %w", k.gvk.Kind, err)
	}
	table, err := generator().GenerateTable(internal, printers.GenerateOptions{Wide: true, NoHeaders: true})
	if err != nil {
		return nil, nil, fmt.Errorf("print %s: %w", k.gvk.Kind, err)
	}
	if len(table.Rows) != 1 {
		return nil, nil, fmt.Errorf("print %s: %d rows for one object", k.gvk.Kind, len(table.Rows))
	}
	return table.Rows[0].Cells, table.Rows[0].Conditions, nil
}
