import CSystem
import Engine

/// A value of one step that a stop rule looks at: a model's output, or a state that the step gave.
public struct Quantity: Sendable {
    public var isState = false
    /// Of the output, or of the shown state.
    public var index = 0
    /// Which of its values, for a threshold or a gate.
    public var element = 0

    public init() {}
}

/// When a row's run ends, beside its limit.
public struct StopRule {
    public enum Kind: Int32, Sendable {
        /// The drawn class, or where none is drawn the largest value of the output, is `token`.
        case token = 0
        case above = 1
        case below = 2
        /// The L2 norm of all values is above the threshold, or below it.
        case normAbove = 3
        case normBelow = 4
        /// By chance: the value is a logit, or a probability.
        case gate = 5
        /// The callback's answer is not 0.
        case callback = 6
    }

    public var kind: Kind
    public var quantity = Quantity()
    public var threshold: Float = 0
    public var token = 0
    /// Gate: the value is a probability, not a logit.
    public var fromProbabilities = false
    /// A model without states that the quantity goes through first, such as a Dense; its first output counts.
    public var through: Model?
    public var callback: Callback?

    public init(_ kind: Kind) { self.kind = kind }
}

/// What ended a row's run.
public enum StopReason: Int32, Sendable {
    /// It goes on, or has not begun.
    case none = 0
    /// The given count of steps is made.
    case count = 1
    /// The limit cut it.
    case limit = 2
    /// A rule, see its number.
    case rule = 3
}

/// A stop rule bound to a model.
final class BoundRule {
    let rule: StopRule
    private let number: Int
    private let size: Int
    private let drawsClasses: Bool
    private let head: Slots?
    private let kernels: UnsafePointer<cz_kernels>

    init(_ rule: StopRule, number: Int, _ slots: Slots, _ sampler: Sampler?) throws(Failure) {
        self.rule = rule
        self.number = number
        drawsClasses = sampler?.options.kind == .categorical || sampler?.options.kind == .callback
        kernels = slots.kernels
        let quantity = rule.quantity
        if quantity.isState {
            let states = slots.model.shownStates
            guard quantity.index >= 0, quantity.index < states.count else {
                throw Failure(.invalidArgument, "stop rule \(number) looks at state \(quantity.index) of a model that has \(states.count)")
            }
            size = states[quantity.index].slot.units
        } else {
            size = try outputSize(slots, quantity.index, "a stop rule")
        }
        var width = size
        if let through = rule.through {
            let head = try makeHead(through, rows: slots.rows, inputs: size, "the model of stop rule \(number)")
            width = head.outputSize(0)
            self.head = head
        } else {
            head = nil
        }
        switch rule.kind {
        case .token:
            guard !quantity.isState, rule.through == nil else {
                throw Failure(.invalidArgument, "stop rule \(number): a token is looked for in an output, without a model between")
            }
            let possible = switch sampler?.options.kind {
            case .categorical: sampler?.canDraw(rule.token) == true
            case .callback: true
            default: rule.token >= 0 && rule.token < size
            }
            guard possible else {
                throw Failure(.invalidArgument, "stop rule \(number) can never fire: class \(rule.token) is forbidden or none of the model's")
            }
        case .above, .below, .gate:
            guard quantity.element >= 0, quantity.element < width else {
                throw Failure(.invalidArgument, "stop rule \(number) looks at value \(quantity.element) of \(width)")
            }
        case .callback:
            guard rule.callback != nil else { throw Failure(.invalidArgument, "stop rule \(number) has no callback") }
        default: break
        }
        let never = switch rule.kind {
        case .above, .normAbove: rule.threshold == .infinity
        case .below: rule.threshold == -.infinity
        case .normBelow: rule.threshold <= 0
        default: false
        }
        guard !never, !rule.threshold.isNaN else {
            throw Failure(.invalidArgument, "stop rule \(number) can never fire: nothing passes its threshold")
        }
    }

    /// For rules through a model: computes it for all lanes at once.
    func prepare(lanes: Int, _ value: (Quantity, Int) -> UnsafePointer<Float>) throws(Failure) {
        guard let head, lanes > 0 else { return }
        for lane in 0..<lanes { head.input(0, slot: lane).copy(from: value(rule.quantity, lane), count: size) }
        try head.compute(first: lanes)
    }

    /// Whether it fires for one lane. drawn: the sampler's value, if any.
    func fires(lane: Int, row: Int, step: Int, value: (Quantity, Int) -> UnsafePointer<Float>,
               drawn: UnsafePointer<Float>?, random: inout Random) throws(Failure) -> Bool {
        let x = head.map { UnsafePointer($0.output(0, slot: lane)) } ?? value(rule.quantity, lane)
        let width = head?.outputSize(0) ?? size
        switch rule.kind {
        case .token:
            if drawsClasses, let drawn { return drawn[0] == Float(rule.token) }
            var best = 0
            for i in 0..<width {
                try require(!x[i].isNaN, row, step, "NaN where stop rule \(number) looks")
                if x[i] > x[best] { best = i }
            }
            return best == rule.token
        case .above, .below:
            let value = x[rule.quantity.element]
            try require(!value.isNaN, row, step, "NaN where stop rule \(number) looks")
            return rule.kind == .above ? value > rule.threshold : value < rule.threshold
        case .normAbove, .normBelow:
            let callers = cz_float_mode_enter()
            defer { cz_float_mode_leave(callers) }
            var sum: Float = 0
            for i in 0..<width { sum += x[i] * x[i] }
            try require(!sum.isNaN, row, step, "NaN where stop rule \(number) looks")
            let norm = sum.squareRoot()
            return rule.kind == .normAbove ? norm > rule.threshold : norm < rule.threshold
        case .gate:
            let callers = cz_float_mode_enter()
            defer { cz_float_mode_leave(callers) }
            let value = x[rule.quantity.element]
            let p = rule.fromProbabilities ? value : kernels.value(CZ_SIGMOID, value)
            try require(p >= 0 && p <= 1, row, step, "\(p) as the probability of stop rule \(number)")
            return random.uniform() < p
        case .callback:
            var answer: Float = 0
            let status = rule.callback?(row, step, x, width, &answer) ?? 0
            if status != 0 { throw failed("stop callback", status, row, step) }
            try require(!answer.isNaN, row, step, "NaN from the stop callback")
            return answer != 0
        }
    }
}

/// A model of one input, without states, that turns `inputs` values of a row into others.
func makeHead(_ model: Model, rows: Int, inputs: Int, _ who: @autoclosure () -> Text) throws(Failure) -> Slots {
    let head = try makeStep(model, rows: rows, inputs: inputs, who())
    guard model.states.isEmpty else { throw Failure(.invalidArgument, "\(who()) has states of its own; it must have none") }
    return head
}

/// A model of one input of `inputs` values.
func makeStep(_ model: Model, rows: Int, inputs: Int, _ who: @autoclosure () -> Text) throws(Failure) -> Slots {
    let slots = try Slots(model, rows: rows)
    guard model.inputs.count == 1, slots.inputSize(0) == inputs else {
        throw Failure(.invalidArgument, "\(who()) takes \(model.inputs.count == 1 ? "\(slots.inputSize(0)) values" : "\(model.inputs.count) inputs"), "
            + "expected one input of \(inputs)")
    }
    return slots
}
