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

/// Values of a batch's rows that are cleared or copied, by the threads that go on with them.
final class Sweep: SharedWork {
    /// [rows][width]; source nil: zeros.
    var places: [(target: Floats, source: Given?, rows: Int, width: Int)] = []

    func run(_ team: Team) {
        var count = 0
        for place in places { count = count &+ place.rows &* place.width }
        team.run(self, 0, products: 16 &* count)
    }

    override func run(_ phase: Int, _ worker: Int, of workers: Int) {
        for place in places {
            let own = share(place.rows, worker, of: workers), first = own.first &* place.width, count = own.count &* place.width
            if let source = place.source {
                (place.target + first).copy(from: source + first, count: count)
            } else {
                clear(place.target + first, count)
            }
        }
    }
}

/// Where a weight's gradient is summed up: that of the first half of a batch's rows, and that of the second, which is added to
/// the first in the end.
struct GradientPlace {
    var first: Floats
    var second: Floats

    static func + (place: GradientPlace, offset: Int) -> GradientPlace {
        GradientPlace(first: place.first + offset, second: place.second + offset)
    }
}

/// Gradients of weights: xᵀ·dz over all rows of a window, from the last row to the first, so that a window may come in pieces
/// from its end on. Both halves of a batch are summed up apart, so that two threads have one each: what they have just written
/// is near. More threads share a half's columns.
final class GradientProduct: SharedWork {
    /// x of one weight: [steps][rows][inputs], and its gradient [inputs][columns].
    struct Factor {
        let x: Given
        let stride: Int
        let inputs: Int
        let gradient: GradientPlace
        let gradientStride: Int
    }

    /// How the rows of dz lie: [steps][rows], `rows` a multiple of those of the batch.
    struct Block {
        let steps: Int
        let rows: Int
        let batch: Int

        /// One behind the other.
        static func flat(_ rows: Int) -> Block { Block(steps: 1, rows: rows, batch: rows) }
    }

    /// Rows that are packed at once.
    static let chunk = 256
    /// Fewer rows of a batch are not halved.
    private static let fewest = 8

    /// Whether second halves are to be joined to the first; and those that are.
    private var hasHalved = false
    private var joined: [(place: GradientPlace, count: Int)] = []
    private let kernels: UnsafePointer<cz_kernels>
    private let team: Team
    /// Where each worker lays both factors in order.
    private final class Buffers {
        var transposed: [AlignedBuffer] = []
        var packed: [AlignedBuffer] = []
    }

    private let buffers: Buffers
    private let ones: AlignedBuffer
    /// Where two threads run through half of the rows each: their own products, which add nothing but that half, at once.
    private(set) var parts: [GradientProduct] = []
    private let onlyHalf: Int?
    private var dz: Given
    private var stride = 0
    private var columns = 0
    private var steps = 0
    private var rows = 0
    private var half = 0
    private var first: Factor?
    private var second: Factor?
    private var bias: GradientPlace?

    convenience init(_ kernels: UnsafePointer<cz_kernels>, _ team: Team) throws(Failure) {
        let ones = try AlignedBuffer(count: GradientProduct.chunk)
        ones.floats.update(repeating: 1, count: GradientProduct.chunk)
        self.init(kernels, team, Buffers(), ones, onlyHalf: nil)
        guard team.count == 2 else { return }
        for half in 0..<2 { parts.append(GradientProduct(kernels, team, buffers, ones, onlyHalf: half)) }
    }

    private init(_ kernels: UnsafePointer<cz_kernels>, _ team: Team, _ buffers: Buffers, _ ones: AlignedBuffer, onlyHalf: Int?) {
        self.kernels = kernels
        self.team = team
        self.buffers = buffers
        self.ones = ones
        self.onlyHalf = onlyHalf
        dz = UnsafePointer(ones.floats)
    }

    func reserve(inputs: Int, columns: Int) throws(Failure) {
        let a = try multiplied(inputs, GradientProduct.chunk), b = try multiplied(whole(columns), GradientProduct.chunk)
        for worker in 0..<team.count {
            if buffers.transposed.count == worker {
                buffers.transposed.append(try AlignedBuffer(count: a))
                buffers.packed.append(try AlignedBuffer(count: b))
            }
            if buffers.transposed[worker].count < a { buffers.transposed[worker] = try AlignedBuffer(count: a) }
            if buffers.packed[worker].count < b { buffers.packed[worker] = try AlignedBuffer(count: b) }
        }
    }

    /// Adds both products, which share dz, and its column sums to `bias`.
    @inline(never)
    func add(_ dz: Given, _ stride: Int, columns: Int, _ block: Block, _ first: Factor?, _ second: Factor? = nil, bias: GradientPlace?) {
        if first == nil && second == nil && bias == nil { return }
        self.dz = dz
        self.stride = stride
        self.columns = columns
        self.bias = bias
        self.first = first
        self.second = second
        // By their number alone, so that bits do not depend on the threads.
        let isHalved = block.batch >= GradientProduct.fewest
        if isHalved { hasHalved = true }
        // In one piece all rows lie one behind the other.
        steps = isHalved ? block.steps : 1
        rows = isHalved ? block.rows : block.steps &* block.rows
        half = isHalved ? block.batch / 2 &* (block.rows / block.batch) : rows
        if let onlyHalf { return addHalf(onlyHalf == 0 ? 0 : half, onlyHalf == 0 ? half : rows, onlyHalf, (first: 0, count: columns)) }
        team.run(self, 0, products: steps &* rows &* columns &* ((first?.inputs ?? 0) &+ (second?.inputs ?? 0)))
    }

    /// Whether threads that run through half of the rows each may add these by their own products.
    func canPart(batch: Int) -> Bool { parts.count == 2 && batch >= GradientProduct.fewest && batch & 1 == 0 }

    /// The same for what was added by parts.
    func joinParts(_ halves: [(place: GradientPlace, count: Int)]) {
        hasHalved = true
        join(halves)
    }

    /// Adds what second halves of rows gave to what the first gave.
    func join(_ halves: [(place: GradientPlace, count: Int)]) {
        guard hasHalved else { return }
        hasHalved = false
        joined = halves
        var count = 0
        for half in halves { count = count &+ half.count }
        team.run(self, 1, products: 16 &* count)
    }

    override func run(_ phase: Int, _ worker: Int, of workers: Int) {
        if phase == 1 {
            for weight in joined {
                let own = share(weight.count, worker, of: workers, block: 16), second = weight.place.second + own.first
                Training.add(second, to: weight.place.first + own.first, own.count)
                clear(second, own.count)
            }
            return
        }
        let isHalved = half < rows, shares = isHalved && workers & 1 == 0 ? workers / 2 : workers
        let own = share(columns, worker % shares, of: shares, block: 16)
        if own.count == 0 { return }
        if shares == workers || worker < shares { addHalf(0, half, worker, own) }
        if isHalved && (shares == workers || worker >= shares) { addHalf(half, rows, worker, own) }
    }

    /// A half's part: rows low ..< high of each step, some columns.
    private func addHalf(_ low: Int, _ high: Int, _ worker: Int, _ own: (first: Int, count: Int)) {
        let size = high &- low, panels = buffers.packed[worker].floats
        // Places in the half: step · size + row.
        var end = steps &* size
        while end > 0 {
            let count = min(GradientProduct.chunk, end), begin = end &- count
            var last = end
            while last > begin {
                let step = (last &- 1) / size, from = max(begin, step &* size)
                let row = step &* rows &+ low &+ (last &- 1 &- step &* size), place = end &- last, rows = last &- from
                packPanels(dz + (row &* stride &+ own.first), -stride, inputs: rows, outputs: own.count, panels + place &* 16, count)
                var target = buffers.transposed[worker].floats + place
                for case let factor? in [first, second] {
                    transpose(factor.x + row &* factor.stride, -factor.stride, rows: rows, columns: factor.inputs, target, count)
                    target += factor.inputs &* count
                }
                last = from
            }
            var place = buffers.transposed[worker].floats
            for case let factor? in [first, second] {
                let out = (low == 0 ? factor.gradient.first : factor.gradient.second) + own.first
                kernels.pointee.affine(place, count, factor.inputs, count, panels, own.count, out, factor.gradientStride, out, factor.gradientStride)
                place += factor.inputs &* count
            }
            if let bias {
                let out = (low == 0 ? bias.first : bias.second) + own.first
                kernels.pointee.affine(ones.floats, 0, 1, count, panels, own.count, out, 0, out, 0)
            }
            end = begin
        }
    }
}
