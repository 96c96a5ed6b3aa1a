import CSystem
import Engine

/// Work in phases, each of which several threads share.
class SharedWork {
    /// A worker's part of a phase.
    func run(_ phase: Int, _ worker: Int, of workers: Int) {}
}

/// Threads that work together. What each sums up does not depend on how many they are.
final class Team {
    let count: Int
    private let workers: OpaquePointer
    /// Whose work it is: not kept alive, as it keeps us.
    private var work: Unmanaged<SharedWork>?
    private var phase = 0

    init(_ count: Int) throws(Failure) {
        guard count <= 1024, let workers = cz_workers_create(Int32(count)) else {
            throw Failure(.system, "\(count) threads cannot be had")
        }
        self.count = count
        self.workers = workers
    }

    deinit { cz_workers_destroy(workers) }

    /// - Parameter products: about how many are to be added; so few that waking the others would take longer are done alone.
    func run(_ work: SharedWork, _ phase: Int, products: Int = .max) {
        if count == 1 || products < 100_000 { return work.run(phase, 0, of: 1) }
        self.work = .passUnretained(work)
        self.phase = phase
        cz_workers_run(workers, { context, worker in
            Unmanaged<Team>.fromOpaque(context!).takeUnretainedValue().part(Int(worker))
        }, Unmanaged.passUnretained(self).toOpaque())
    }

    private func part(_ worker: Int) {
        let callers = cz_float_mode_enter()
        work?.takeUnretainedValue().run(phase, worker, of: count)
        cz_float_mode_leave(callers)
    }
}

/// A worker's share of `count` things, in whole blocks.
@inline(never)
func share(_ count: Int, _ worker: Int, of workers: Int, block: Int = 1) -> (first: Int, count: Int) {
    let blocks = (count &+ block &- 1) / block
    let first = min(count, blocks &* worker / workers &* block), end = min(count, blocks &* (worker &+ 1) / workers &* block)
    return (first, end &- first)
}

/// Gradients of weights: xᵀ·dz over all rows of a window, from the last row to the first, so that a window may come in pieces
/// from its end on.
final class GradientProduct: SharedWork {
    /// x of one weight: [rows][inputs], and its gradient [inputs][columns].
    struct Factor {
        let x: Given
        let stride: Int
        let inputs: Int
        let gradient: Floats
        let gradientStride: Int
    }

    /// Rows that are packed at once.
    static let chunk = 256

    private let kernels: UnsafePointer<cz_kernels>
    private let team: Team
    private var transposed: AlignedBuffer!
    private var packed: AlignedBuffer!
    private let ones: AlignedBuffer
    private var dz: Given
    private var stride = 0
    private var columns = 0
    private var count = 0
    private var first: Factor?
    private var second: Factor?
    private var bias: Floats?

    init(_ kernels: UnsafePointer<cz_kernels>, _ team: Team) throws(Failure) {
        self.kernels = kernels
        self.team = team
        ones = try AlignedBuffer(count: GradientProduct.chunk)
        ones.floats.update(repeating: 1, count: GradientProduct.chunk)
        dz = UnsafePointer(ones.floats)
    }

    func reserve(inputs: Int, columns: Int) throws(Failure) {
        let a = try multiplied(inputs, GradientProduct.chunk), b = try multiplied(whole(columns), GradientProduct.chunk)
        if transposed == nil || transposed.count < a { transposed = try AlignedBuffer(count: a) }
        if packed == nil || packed.count < b { packed = try AlignedBuffer(count: b) }
    }

    /// Adds both products, which share dz [rows][columns], and its column sums to `bias`.
    @inline(never)
    func add(_ dz: Given, _ stride: Int, columns: Int, rows: Int, _ first: Factor?, _ second: Factor? = nil, bias: Floats?) {
        if first == nil && second == nil && bias == nil { return }
        self.stride = stride
        self.columns = columns
        self.bias = bias
        var end = rows
        while end > 0 {
            count = min(GradientProduct.chunk, end)
            end = end &- count
            self.dz = dz + end &* stride
            self.first = first.map { at($0, end) }
            self.second = second.map { at($0, end) }
            let products = count &* columns &* ((first?.inputs ?? 0) &+ (second?.inputs ?? 0))
            team.run(self, 0, products: products)
            team.run(self, 1, products: products)
        }
    }

    private func at(_ factor: Factor, _ row: Int) -> Factor {
        Factor(x: factor.x + row &* factor.stride, stride: factor.stride, inputs: factor.inputs, gradient: factor.gradient,
               gradientStride: factor.gradientStride)
    }

    override func run(_ phase: Int, _ worker: Int, of workers: Int) {
        let own = share(columns, worker, of: workers, block: 16)
        let panels = packed.floats + own.first &* count
        if phase == 0 {
            packPanels(dz + ((count &- 1) &* stride &+ own.first), -stride, inputs: count, outputs: own.count, panels)
            var place = transposed.floats
            for factor in [first, second] {
                guard let factor else { continue }
                let part = share(factor.inputs, worker, of: workers, block: 16)
                transpose(factor.x + ((count &- 1) &* factor.stride &+ part.first), -factor.stride, rows: count, columns: part.count,
                          place + part.first &* count)
                place += factor.inputs &* count
            }
        } else if own.count > 0 {
            var place = transposed.floats
            for factor in [first, second] {
                guard let factor else { continue }
                let out = factor.gradient + own.first
                kernels.pointee.affine(place, count, factor.inputs, count, panels, own.count, out, factor.gradientStride, out, factor.gradientStride)
                place += factor.inputs &* count
            }
            if let bias {
                kernels.pointee.affine(ones.floats, 0, 1, count, panels, own.count, bias + own.first, 0, bias + own.first, 0)
            }
        }
    }
}
