"""Matrix products for small matrices in cache, compiled by numba: one tile of the result stays in registers.

torch's products lose a third of a core's speed at the sizes of one member (64 x 64 x 64), in dispatch and packing.
Here a tile of ROWS x 2 vectors is summed over the inner dimension in registers; its loop is written in LLVM's own
vectors, since no compiler makes it out of scalar code.
"""

from typing import Any

from llvmlite import binding, ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from degeneracy.core.compiling import compiled


def _vectors() -> tuple[int, int]:
    """Numbers per vector, and rows per tile, by this machine's registers (32 of AVX-512 or NEON, 16 of AVX or SSE)."""
    features = binding.get_host_cpu_features()
    if features.get("avx512f"):
        return 16, 8
    if features.get("avx"):
        return 8, 4
    return (4, 8) if features.get("neon") else (4, 4)


WIDTH, ROWS = _vectors()
LEAST_ROWS = 4  # the height of a product must be a multiple of this


def _tile(rows: int, vectors: int) -> Any:
    """The function that sums one tile of `rows` x `vectors * WIDTH` numbers; see `product` for its arguments."""

    @intrinsic
    def tile(  # type: ignore[no-untyped-def]
        typing_context,  # noqa: ARG001
        c,
        c0,  # noqa: ARG001
        c_row,  # noqa: ARG001
        a,
        a0,  # noqa: ARG001
        a_row,  # noqa: ARG001
        a_inner,  # noqa: ARG001
        b,
        b0,  # noqa: ARG001
        b_inner,  # noqa: ARG001
        inner,  # noqa: ARG001
        add,  # noqa: ARG001
    ):
        n = types.intp
        signature = types.void(c, n, n, a, n, n, n, b, n, n, n, types.boolean)

        def emit(context: Any, builder: Any, given: Any, args: Any) -> Any:
            _emit_tile(context, builder, given, args, rows, vectors)
            return context.get_dummy_value()

        return signature, emit

    return tile


def _everywhere(builder: Any, number: Any, vector: Any) -> Any:
    """A vector of one number."""
    undefined, zero = ir.Constant(vector, ir.Undefined), ir.Constant(ir.IntType(32), 0)
    first = builder.insert_element(undefined, number, zero)
    return builder.shuffle_vector(first, undefined, ir.Constant(ir.VectorType(ir.IntType(32), WIDTH), [0] * WIDTH))


def _emit_tile(context: Any, builder: Any, signature: Any, args: Any, rows: int, vectors: int) -> None:
    """Emit the tile's code: load or clear the sums, loop over the inner dimension, store."""
    c, c0, c_row, a, a0, a_row, a_inner, b, b0, b_inner, inner, add = args
    vector, index = ir.VectorType(ir.FloatType(), WIDTH), c0.type

    def start(array: Any, kind: Any, offset: Any) -> Any:
        return builder.gep(context.make_array(kind)(context, builder, array).data, [offset])

    def load(pointer: Any) -> Any:
        return builder.load(builder.bitcast(pointer, vector.as_pointer()), align=4)

    at = [ir.Constant(index, j * WIDTH) for j in range(vectors)]
    c_start, a_start = start(c, signature.args[0], c0), start(a, signature.args[3], a0)
    b_start = start(b, signature.args[7], b0)
    c_rows = [builder.gep(c_start, [builder.mul(c_row, ir.Constant(index, i))]) for i in range(rows)]
    # One variable per vector: LLVM keeps them all in registers.
    sums = [[cgutils.alloca_once(builder, vector) for _ in range(vectors)] for _ in range(rows)]
    places = [(i, j) for i in range(rows) for j in range(vectors)]
    with builder.if_else(add) as (to_what_is_there, from_zero):
        with to_what_is_there:
            for i, j in places:
                builder.store(load(builder.gep(c_rows[i], [at[j]])), sums[i][j])
        with from_zero:
            for i, j in places:
                builder.store(ir.Constant(vector, [0.0] * WIDTH), sums[i][j])
    with cgutils.for_range(builder, inner) as loop:
        b_here = builder.gep(b_start, [builder.mul(loop.index, b_inner)])
        a_here = builder.gep(a_start, [builder.mul(loop.index, a_inner)])
        b_parts = [load(builder.gep(b_here, [at[j]])) for j in range(vectors)]
        for i in range(rows):
            number = builder.load(builder.gep(a_here, [builder.mul(a_row, ir.Constant(index, i))]))
            a_part = _everywhere(builder, number, vector)
            for j in range(vectors):
                # "contract" lets the product and the sum be one instruction.
                term = builder.fmul(a_part, b_parts[j], flags=("contract",))
                total = builder.fadd(builder.load(sums[i][j]), term, flags=("contract",))
                builder.store(total, sums[i][j])
    for i, j in places:
        pointer = builder.bitcast(builder.gep(c_rows[i], [at[j]]), vector.as_pointer())
        builder.store(builder.load(sums[i][j]), pointer, align=4)


_tall_wide, _tall_narrow = _tile(ROWS, 2), _tile(ROWS, 1)
_low_wide, _low_narrow = _tile(LEAST_ROWS, 2), _tile(LEAST_ROWS, 1)


def _product(  # type: ignore[no-untyped-def]
    c, c0, c_row, a, a0, a_row, a_inner, b, b0, b_inner, height, width, inner, add
):
    """C = A B, or C += A B if `add`, in one-dimensional float32 arrays with offsets and strides, in numbers.

    C[i, j] is c[c0 + i c_row + j], A[i, k] is a[a0 + i a_row + k a_inner], B[k, j] is b[b0 + k b_inner + j].
    `height` must be a multiple of LEAST_ROWS, `width` of WIDTH. Nothing is checked.
    """
    wide, tall = width // (2 * WIDTH) * 2 * WIDTH, height // ROWS * ROWS
    for j in range(0, wide, 2 * WIDTH):
        for i in range(0, tall, ROWS):
            to, at = c0 + i * c_row + j, a0 + i * a_row
            _tall_wide(c, to, c_row, a, at, a_row, a_inner, b, b0 + j, b_inner, inner, add)
        for i in range(tall, height, LEAST_ROWS):
            to, at = c0 + i * c_row + j, a0 + i * a_row
            _low_wide(c, to, c_row, a, at, a_row, a_inner, b, b0 + j, b_inner, inner, add)
    if wide < width:
        for i in range(0, tall, ROWS):
            to, at = c0 + i * c_row + wide, a0 + i * a_row
            _tall_narrow(c, to, c_row, a, at, a_row, a_inner, b, b0 + wide, b_inner, inner, add)
        for i in range(tall, height, LEAST_ROWS):
            to, at = c0 + i * c_row + wide, a0 + i * a_row
            _low_narrow(c, to, c_row, a, at, a_row, a_inner, b, b0 + wide, b_inner, inner, add)


product = compiled()(_product)
